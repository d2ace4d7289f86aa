"""Find the white cells of a picture, a close crop or a whole field: centre, box, nucleus, scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from scipy.ndimage import find_objects

from hv_utils.fields.nuclei import disc, find_nuclei
from hv_utils.fields.scale import measure_scale
from hv_utils.fields.stain import Stain, otsu

CYTOPLASM_UM, MARGIN_UM = 3.8, 5.0  # reach of a cell around its nucleus; looked at around it
BRIDGE_UM = 1.2  # half the width of what is cut off where a red cell touches
SMALL_UM2, SMALL_CUT_UM2 = 14.0, 6.0  # a nucleus below it is a platelet's or a speck; at the edge
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    x, y : float
        Middle of the box, in pixels from the picture's left and upper edge.
    box : tuple of float
        xmin, ymin, xmax, ymax of the cell, in pixels, clipped to the picture.
    nucleus : numpy.ndarray, shape (h, w), bool
        The mask within `nucleus_box`, at the resolution of the search; `nucleus_mask` enlarges it.
    nucleus_box : tuple of float
        Where `nucleus` lies in the picture, as `box`.
    nucleus_um2 : float
        Area of the nucleus in µm².
    diameter_um : float
        Of a circle with the cell's area.
    contrast : float
        How far the nucleus stands out: 0 is the red cells' level, 1 that of the picture's darkest.
    cut : bool
        Whether the nucleus touches the picture's edge or black border.
    kind : str
        `white`, or `small` for a platelet or a speck.
    """

    x: float
    y: float
    box: Corners
    nucleus: np.ndarray = field(repr=False)
    nucleus_box: Corners
    nucleus_um2: float
    diameter_um: float
    contrast: float
    cut: bool
    kind: str

    def nucleus_mask(self, size: tuple[int, int]) -> np.ndarray:
        """Draw the nucleus into a picture.

        Parameters
        ----------
        size : tuple of int
            Height and width of the picture that the cell was found in.

        Returns
        -------
        numpy.ndarray, shape `size`, bool
        """
        x0, y0, x1, y1 = (round(side) for side in self.nucleus_box)
        mask = np.zeros(size, bool)
        part = mask[y0:y1, x0:x1]
        part[:] = cv2.resize(self.nucleus.astype(np.uint8), part.shape[::-1]) > 0
        return mask


@dataclass(frozen=True)
class Finding:
    """What a picture shows.

    Attributes
    ----------
    cells : list of Cell
        White cells, the largest nucleus first. Where there is none, the small ones; empty where
        nothing stands out from the red cells.
    um_per_pixel : float
        Scale of the picture.
    ruler : str
        What it was taken from, as in `scale.Scale`.
    ground : numpy.ndarray, shape (3,), float32
        Colour of the empty ground, RGB.
    size : tuple of int
        Height and width of the picture.
    """

    cells: list[Cell]
    um_per_pixel: float
    ruler: str
    ground: np.ndarray
    size: tuple[int, int]


def find_cells(image: np.ndarray, *, um_per_pixel: float | None = None) -> Finding:
    """Find the white cells of a picture.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB, sides of at least 16 pixels.
    um_per_pixel : float, optional
        The scale where it is known, 0.01 to 2; by default the red cells are measured.

    Returns
    -------
    Finding

    Raises
    ------
    HematoVisionError
        For a scale that no picture of a smear has, and for a picture too small to show a cell.
    """
    scale, stain = measure_scale(image, um_per_pixel)
    um = scale.um_at_work
    stain = stain.in_wide_field(um)
    nuclei = find_nuclei(stain, um)
    cells = [
        _measured(stain, nuclei, number, place, um)
        for number, place in enumerate(find_objects(nuclei), 1)
    ]
    cells.sort(key=lambda cell: -cell.nucleus_um2)
    cells = [cell for cell in cells if cell.kind == "white"] or cells
    size = image.shape[:2]
    cells = [_enlarged(cell, scale.shrink, size) for cell in cells]
    return Finding(cells, scale.um_per_pixel, scale.ruler, stain.ground, size)


def _measured(
    stain: Stain, nuclei: np.ndarray, number: int, place: tuple[slice, slice], um: float
) -> Cell:
    """Measure the cell of the nucleus with this number, which lies at `place`; `um` a pixel."""
    margin = int(np.ceil(MARGIN_UM / um))
    y0, x0 = (max(0, side.start - margin) for side in place)
    part = np.s_[y0 : place[0].stop + margin, x0 : place[1].stop + margin]
    nucleus, nuclear = nuclei[part] == number, stain.nuclear[part]
    body = _cell_around(stain.foreground[part] & stain.inside[part], nucleus, um)
    nucleus = _without_cytoplasm(nuclear, nucleus, body)
    area = float(nucleus.sum()) * um**2
    level = float(np.median(nuclear[nucleus]))
    nucleus_box = _corners(nucleus, x0, y0)
    around = cv2.dilate(nucleus.astype(np.uint8), np.ones((3, 3))) > 0
    cut = _at_edge(nucleus_box, nuclei.shape) or bool((around & ~stain.inside[part]).any())
    left, top, wide, high = cv2.boundingRect(nucleus.astype(np.uint8))
    box = _corners(body, x0, y0)
    return Cell(
        x=(box[0] + box[2]) / 2,
        y=(box[1] + box[3]) / 2,
        box=box,
        nucleus=nucleus[top : top + high, left : left + wide],
        nucleus_box=nucleus_box,
        nucleus_um2=area,
        diameter_um=float(2 * np.sqrt(body.sum() / np.pi) * um),
        contrast=(level - stain.red_level) / stain.contrast,
        cut=cut,
        kind="small" if area < (SMALL_CUT_UM2 if cut else SMALL_UM2) else "white",
    )


def _at_edge(box: Corners, shape: tuple[int, ...]) -> bool:
    return min(box[:2]) <= 0 or box[2] >= shape[1] or box[3] >= shape[0]


def _corners(mask: np.ndarray, x0: int, y0: int) -> Corners:
    """Return the box around a mask that lies at x0, y0."""
    left, top, wide, high = cv2.boundingRect(mask.astype(np.uint8))
    return float(x0 + left), float(y0 + top), float(x0 + left + wide), float(y0 + top + high)


def _cell_around(stained: np.ndarray, nucleus: np.ndarray, um: float) -> np.ndarray:
    """Return the cell's mask: what is stained within reach of the nucleus, made round."""
    away = cv2.distanceTransform((~nucleus).astype(np.uint8), cv2.DIST_L2, 3)
    hull = np.zeros(nucleus.shape, np.uint8)
    outline = cv2.convexHull(cv2.findNonZero(nucleus.astype(np.uint8)))
    cv2.fillConvexPoly(hull, outline, 1)
    body = (stained & (away < CYTOPLASM_UM / um)).astype(np.uint8) | hull
    body = cv2.morphologyEx(body, cv2.MORPH_OPEN, disc(max(1, round(BRIDGE_UM / um)))) | hull
    _, labels = cv2.connectedComponents(body)
    return labels == np.bincount(labels[nucleus]).argmax()


def _without_cytoplasm(nuclear: np.ndarray, nucleus: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Return the nucleus without dark cytoplasm, where the two can be told apart."""
    inside = nuclear[nucleus]
    if inside.size < 30:
        return nucleus
    level = otsu(nuclear[body & (nuclear > 0.1)])
    upper = inside > level
    if not 0.25 < upper.mean() < 1 or inside[~upper].mean() > 0.65 * inside[upper].mean():
        return nucleus
    return nucleus & (nuclear > level)


def _enlarged(cell: Cell, shrink: float, size: tuple[int, int]) -> Cell:
    """Return a cell in pixels of the picture instead of the smaller one."""
    most = (size[1], size[0], size[1], size[0])

    def up(box: Corners) -> Corners:
        return tuple(min(side / shrink, end) for side, end in zip(box, most, strict=True))

    return replace(
        cell,
        x=cell.x / shrink,
        y=cell.y / shrink,
        box=up(cell.box),
        nucleus_box=up(cell.nucleus_box),
    )
