"""What an image is cut into before a verdict is shared out: parts of the smear, or superpixels.

A region is hidden by painting it over. With what is a choice: in the colour of the empty ground
there is nothing, under a blur there is something without detail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np

from hv_utils.fields.finder import find_cells
from hv_utils.fields.stain import ground_colour, inside_border, take_apart
from hv_utils.fields.view import main_cell
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.heat_maps import enlarge
from hv_utils.images.reading import read_image
from hv_utils.studies.gradcam_scores import targets_of

NUCLEUS, CYTOPLASM, RED_CELLS, GROUND = NAMES = ("nucleus", "cytoplasm", "red cells", "ground")
SMEAR, SUPERPIXELS = "regions", "superpixels"  # the two ways to cut
NO_NUCLEUS = (
    "expected an image with a nucleus, but none is found: the cell lies outside the frame, or "
    "nothing is stained as a nucleus is; leave the image out, or use superpixels"
)
EXTRA = ("shap", "lime")  # packages of the extra `explain`
NEEDS = "LIME and SHAP are not installed: `pip install lime shap` adds them (the extra `explain`)"
BLUR = 14  # parts of the image's height: the standard deviation of the blur is one


@dataclass(frozen=True)
class Regions:
    """An image in R pieces.

    Attributes
    ----------
    labels : numpy.ndarray, shape (H, W), int
        The region of each pixel, 0 to R - 1; none is empty.
    names : tuple of str
        R names.
    """

    labels: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, labels: np.ndarray, names: tuple[str, ...] | None = None) -> Regions:
        """Give the regions that are there numbers, in their order.

        Raises
        ------
        HematoVisionError
            Where there is one alone: a verdict cannot be shared out among less than two.
        """
        found, numbered = np.unique(labels, return_inverse=True)
        called = tuple(names[n] if names else str(n) for n in found)
        if len(found) < 2:
            raise HematoVisionError(
                f"expected at least two regions to share a verdict among, but got {len(found)} "
                f"({', '.join(called)}): the image is too small or too even to be cut; take another"
            )
        return cls(numbered.reshape(labels.shape), called)

    def spread(self, weights: np.ndarray) -> np.ndarray:
        """Spread each region's weight evenly over its pixels, as ink of that amount would be.

        Parameters
        ----------
        weights : numpy.ndarray, shape (..., R)

        Returns
        -------
        numpy.ndarray
            Shape (..., H, W), float32; the sum over a region is its weight.
        """
        areas = np.bincount(self.labels.ravel())
        return (np.asarray(weights) / areas).astype(np.float32)[..., self.labels]

    def ceiling(self, mask: np.ndarray) -> float:
        """Return the largest share of a region that lies on a mask: all ink in the best one."""
        inside = np.bincount(self.labels.ravel(), weights=mask.ravel().astype(float))
        return float((inside / np.bincount(self.labels.ravel())).max())


def smear_regions(image: np.ndarray, nucleus: np.ndarray, cell: np.ndarray) -> Regions:
    """Cut an image into nucleus, cytoplasm, red cells and ground.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    nucleus, cell : numpy.ndarray, shape (H, W), bool
        The outlines; the nucleus counts as part of the cell.

    Returns
    -------
    Regions
        Red cells are all else that is stained, platelets too; the ground is the rest, a black
        border too. What is not there is left out.

    Raises
    ------
    HematoVisionError
        Where there is no nucleus, or nothing but it.
    """
    if nucleus.shape != image.shape[:2] or cell.shape != image.shape[:2]:
        raise HematoVisionError(
            f"expected outlines of the image's {image.shape[1]}x{image.shape[0]} pixels, but got "
            f"{nucleus.shape[1]}x{nucleus.shape[0]}: enlarge them first"
        )
    if not nucleus.any():
        raise HematoVisionError(NO_NUCLEUS)
    stained = take_apart(image, 1.0).foreground
    labels = np.where(stained, NAMES.index(RED_CELLS), NAMES.index(GROUND))
    labels[cell] = NAMES.index(CYTOPLASM)
    labels[nucleus] = NAMES.index(NUCLEUS)
    return Regions.of(labels, NAMES)


def found_outlines(image: np.ndarray) -> dict[str, np.ndarray]:
    """Find the most prominent cell of a picture whose outlines nobody has drawn.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8

    Returns
    -------
    dict of str to numpy.ndarray
        `nucleus`, and `cell`, an ellipse in the box of the cell; bool, (H, W).

    Raises
    ------
    HematoVisionError
        Where no nucleus is found, or the picture is too small to show a cell.
    """
    found = main_cell(find_cells(image))
    if found is None:
        raise HematoVisionError(NO_NUCLEUS)
    size = image.shape[:2]
    nucleus, cell = found.nucleus_mask(size), np.zeros(size, np.uint8)
    x0, y0, x1, y1 = found.box
    axes = round((x1 - x0) / 2), round((y1 - y0) / 2)
    cv2.ellipse(cell, (round(found.x), round(found.y)), axes, 0, 0, 360, 1, thickness=-1)
    return {"nucleus": nucleus, "cell": nucleus | (cell > 0)}


def outlines_of(row: Any, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return where nucleus and cell lie: the true outlines where known, else those found.

    Parameters
    ----------
    row : named tuple
        A row of the image table.
    size : tuple of int
        (height, width) that the outlines are brought to.

    Returns
    -------
    dict of str to numpy.ndarray
        `nucleus` and `cell`, bool, of `size`.

    Raises
    ------
    HematoVisionError
        Where there is no nucleus in view.
    """
    known = targets_of(row)
    if "nucleus" not in known:
        known = found_outlines(read_image(row.path))
    masks = {name: enlarge(known[name], size) > 0.5 for name in ("nucleus", "cell")}
    if not masks["nucleus"].any():
        raise HematoVisionError(NO_NUCLEUS)
    return masks


def cuts_of(
    image: np.ndarray, outlines: Mapping[str, np.ndarray], n_superpixels: int
) -> dict[str, Regions]:
    """Return both ways to cut an image, as `attributions` takes them.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
    outlines : mapping of str to numpy.ndarray
        `nucleus` and `cell`, bool, (H, W).
    n_superpixels : int
        See `superpixels`.
    """
    return {
        SMEAR: smear_regions(image, outlines["nucleus"], outlines["cell"]),
        SUPERPIXELS: superpixels(image, n_superpixels),
    }


def superpixels(image: np.ndarray, n: int = 24) -> Regions:
    """Cut an image into patches of like colour and about equal size (SLIC).

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
    n : int
        About how many, 2 at least.

    Raises
    ------
    HematoVisionError
        For fewer than two, and where the library is missing.
    """
    need_extra()
    from skimage.segmentation import slic

    if n < 2:
        raise HematoVisionError(
            f"expected at least two superpixels, but got {n}: with one there is nothing to compare"
        )
    return Regions.of(slic(image, n_segments=n, compactness=10, start_label=0))


def extra_is_there() -> bool:
    """Return whether the libraries of the extra `explain` are installed."""
    return all(find_spec(name) for name in EXTRA)


def need_extra() -> None:
    """Refuse to go on without the extra `explain`."""
    if not extra_is_there():
        raise HematoVisionError(f"expected the libraries of this method, but {NEEDS}")


def fills(image: np.ndarray) -> dict[str, np.ndarray]:
    """Return what an image can be painted over with: its empty ground, or itself blurred.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8

    Returns
    -------
    dict of str to numpy.ndarray
        `ground` and `blur`, of the image's shape and type.
    """
    colour = np.round(ground_colour(image, inside_border(image))).astype(np.uint8)
    return {
        "ground": np.broadcast_to(colour, image.shape).copy(),
        "blur": cv2.GaussianBlur(image, (0, 0), image.shape[0] / BLUR),
    }


def painted(image: np.ndarray, fill: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Paint over what is hidden.

    Parameters
    ----------
    image, fill : numpy.ndarray, shape (H, W, 3), uint8
    hidden : numpy.ndarray, shape (N, H, W), bool

    Returns
    -------
    numpy.ndarray
        Shape (N, H, W, 3), uint8.
    """
    return np.where(hidden[..., None], fill, image)
