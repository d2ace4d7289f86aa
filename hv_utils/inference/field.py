"""What one field holds: white cells as the classifier takes them, red cells, platelets, doubts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import cv2
import numpy as np

from hv_utils.fields.finder import Cell, Finding, find_cells
from hv_utils.fields.scale import measure_scale
from hv_utils.fields.stain import Stain
from hv_utils.fields.view import Middle, in_hue, standard_view
from hv_utils.images.reading import read_image, resize
from hv_utils.inference.detector import PLATELET, RED, WHITE, Detector, at_scale
from hv_utils.inference.onnx_model import OK, UNSURE
from hv_utils.inference.preparation import Picture, Shown

BOX = ("xmin", "ymin", "xmax", "ymax")
RED_UM = 12.9  # side of a red cell's cut-out: 72 pixels of the source `chula`
EDGE = 2  # pixels from the edge at which a box ends that goes on beyond it
THICK = 0.8  # share of a field that is stained: cells lie over one another
ABOVE_GROUND, MOST_BRIGHTER = 0.08, 0.025  # optical density; share of a field that may be brighter
LEAST_CONTRAST = 25  # grey levels between ground and what is stained; in blank fields noise
LEAST_SHARPNESS = 0.11  # steepest outlines a pixel of 0.2 µm, as a share of the contrast
SCALES_APART = 1.5  # of a given scale to the measured one, at which one of them is wrong


@dataclass(frozen=True)
class Field:
    """A field and its cells.

    Attributes
    ----------
    cells : list of Shown
        White ones first, with the view that the classifier is to judge; red cells and platelets
        without. `place` holds the kind, the box in pixels of the field and `found`, the score.
    um_per_pixel : float
    doubts : list of str
        Why a count of this field is doubtful, a line each.
    """

    cells: list[Shown]
    um_per_pixel: float
    doubts: list[str] = field(default_factory=list)


def read_field(
    path: Picture,
    detector: Detector,
    *,
    side: int,
    hue: Sequence[float] | None = None,
    largest_um2: Mapping[str, float] = MappingProxyType({}),
    um_per_pixel: float | None = None,
    shape_size: tuple[int, int] | None = None,
) -> Field:
    """Find the cells of a field, and bring each white one to the standard view.

    The detector says what is a cell; the finder of `fields`, which cuts out the cells that the
    classifier has learnt from, measures the white ones and says where their middle is.

    Parameters
    ----------
    path : Path or SentImage
    detector : Detector
    side, hue, largest_um2, um_per_pixel
        As in `preparation.cells_of`.
    shape_size : tuple of int, optional
        (height, width) of the cut-outs by which red cells are to be named; by default none are
        made. Cells that the edge cuts off have none.

    Raises
    ------
    HematoVisionError
        Where the file cannot be read.
    """
    image = read_image(path)
    scale, stain = measure_scale(image, um_per_pixel)
    doubts = doubts_about(image, stain, scale.um_per_pixel)
    if um_per_pixel:
        measured = measure_scale(image)[0]
        apart = max(measured.um_per_pixel, um_per_pixel) / min(measured.um_per_pixel, um_per_pixel)
        if measured.ruler == "red cells" and apart > SCALES_APART:
            doubts.append(
                f"expected red cells of 7.5 µm, but at {um_per_pixel:g} µm a pixel those of {path} "
                f"measure {7.5 * um_per_pixel / measured.um_per_pixel:.1f}: is it of another "
                "microscope than the others? leave out --um-per-pixel to measure each field"
            )
    found = detector.sure(detector.candidates(image, scale, stain.ground))
    finding = find_cells(image, um_per_pixel=scale.um_per_pixel)
    whites = found.of(WHITE)
    cells = [
        _white_cell(image, finding, box, score, side, hue, largest_um2)
        for box, score in zip(whites.boxes, whites.scores, strict=True)
    ]
    for kind in (RED, PLATELET):
        own = found.of(kind)
        for box, score in zip(own.boxes, own.scores, strict=True):
            view = None
            if kind == RED and shape_size and not _cut(box, image.shape):
                view = red_view(image, box, scale.um_per_pixel, shape_size)
            cells.append(Shown(view, OK, place=_place(kind, box, score)))
    return Field(cells, scale.um_per_pixel, [f"{path}: {line}" for line in doubts])


def _place(kind: str, box: np.ndarray, score: float) -> dict[str, float | str]:
    corners = dict(zip(BOX, (round(float(side), 1) for side in box), strict=True))
    return {"kind": kind, **corners, "found": float(score)}


def red_view(
    image: np.ndarray, box: np.ndarray, um_per_pixel: float, size: tuple[int, int]
) -> np.ndarray:
    """Cut a red cell out as the source `chula` has them: in the middle of a square of `RED_UM`.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
    box : numpy.ndarray, shape (4,), float
    um_per_pixel : float
    size : tuple of int
        Height and width of the cut-out.
    """
    half = max(1, round(RED_UM / um_per_pixel / 2))
    columns, rows = (
        np.clip(np.arange(-half, half) + int(box[i] + box[i + 2]) // 2, 0, image.shape[1 - i] - 1)
        for i in (0, 1)
    )  # beyond the edge its pixels are repeated
    return resize(image[rows[:, None], columns], size)


def _cut(box: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Tell whether the edge of a field cuts a box off."""
    height, width = shape[:2]
    return min(box[:2]) <= EDGE or box[2] >= width - EDGE or box[3] >= height - EDGE


def _white_cell(image, finding: Finding, box, score, side, hue, largest_um2) -> Shown:
    """Cut one white cell out for the classifier."""
    own = _measured(finding, box)
    cut = _cut(box, image.shape)
    barred: tuple[str, ...] = ()
    if own is None:
        middle = Middle((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    else:
        middle, cut = Middle(own.x, own.y), cut or own.cut
        barred = tuple(name for name, most in largest_um2.items() if own.nucleus_um2 > most)
    view = standard_view(image, finding, middle, side=side)
    view = view if hue is None else in_hue(view, hue)
    return Shown(view, UNSURE if cut else "", place=_place(WHITE, box, score), barred=barred)


def _measured(finding: Finding, box: np.ndarray) -> Cell | None:
    """Return the largest of the finder's cells whose middle lies in a box."""
    inside = [
        cell for cell in finding.cells if box[0] <= cell.x <= box[2] and box[1] <= cell.y <= box[3]
    ]
    return max(inside, key=lambda cell: cell.nucleus_um2, default=None)


def doubts_in(image: np.ndarray) -> list[str]:
    """Return why a count of a field would be doubtful, see `doubts_about`; its scale is measured.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    """
    scale, stain = measure_scale(image)
    return doubts_about(image, stain, scale.um_per_pixel)


def doubts_about(image: np.ndarray, stain: Stain, um_per_pixel: float) -> list[str]:
    """Return why a count of a field would be doubtful: blank, out of focus, too thick.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
    stain : Stain
        Of this image.
    um_per_pixel : float

    Returns
    -------
    list of str
        A line each; empty where nothing speaks against it.
    """
    grey = cv2.cvtColor(at_scale(image, um_per_pixel, stain.ground), cv2.COLOR_RGB2GRAY)
    grey = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 0.7)
    contrast = float(np.percentile(grey, 99) - np.percentile(grey, 5))
    if contrast < LEAST_CONTRAST:
        return ["expected stained cells, but nothing stands out: blank, black, or beside the smear"]
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    steepest = float(np.percentile(cv2.magnitude(across, down), 98))
    doubts = []
    if steepest < LEAST_SHARPNESS * contrast:
        doubts.append(
            "expected sharp outlines, but the field is out of focus: focus and take it again"
        )
    covered, brighter = (
        float(part.mean()) for part in (stain.foreground, stain.total < -ABOVE_GROUND)
    )
    # Where cells cover the ground, their colour is the commonest bright one and is taken for it.
    if covered > THICK or brighter > MOST_BRIGHTER:
        doubts.append(
            "expected cells side by side, but they cover nearly all the ground: in a thick area "
            "cells lie over one another, and a count there is no count; move to where they just "
            "do not touch"
        )
    return doubts
