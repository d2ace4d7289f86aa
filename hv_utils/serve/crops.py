"""Small pictures for a page: each cell by itself, and the field that it lies in, with boxes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hv_utils.fields.finder import find_cells
from hv_utils.fields.scale import check_scale
from hv_utils.fields.view import GROUND
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores, fingerprint
from hv_utils.images.reading import read_image
from hv_utils.serve.verdicts import Verdict

CROP_UM, CELL_UM = 24.0, 13.0  # width of a crop; of a box where the finder gives none
AROUND_BOX = 1.6  # a crop is so much wider than a box that the table has
CROP_SIDE, FIELD_SIDE = 176, 560  # pixels, the longest side
CROP_QUALITY, FIELD_QUALITY = 82, 70  # of JPEG
NEAR = 3.0  # pixels between a verdict's middle and the cell that it is of
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Field:
    """One picture and its cells, as a page shows them.

    Attributes
    ----------
    path : Path
    digest : str
        SHA-256 of the file; "" where it is not there.
    size : tuple of int
        Height and width in pixels; 0, 0 where it cannot be read.
    picture : str
        The whole of it, a JPEG as base64; "" where it cannot be read.
    crops : list of str
        Of each cell, likewise; "" where the whole picture was judged.
    boxes : list of tuple of float or None
        xmin, ymin, xmax, ymax in pixels.
    """

    path: Path
    digest: str
    size: tuple[int, int]
    picture: str
    crops: list[str]
    boxes: list[Corners | None]


def fields_of(
    verdicts: Sequence[Verdict], *, um_per_pixel: float | None = None
) -> list[tuple[Field, list[int]]]:
    """Cut the cells out of their pictures.

    Parameters
    ----------
    verdicts : sequence of Verdict
    um_per_pixel : float, optional
        Scale of the pictures; by default the red cells in each are measured.

    Returns
    -------
    list of tuple of Field and list of int
        Each picture once, in the order of the verdicts, and the numbers of its verdicts.

    Raises
    ------
    HematoVisionError
        For a picture that is no longer what was judged: it cannot be read, or is too small for
        the place of a cell.
    """
    check_scale(um_per_pixel)
    numbers: dict[Path, list[int]] = {}
    for number, one in enumerate(verdicts):
        numbers.setdefault(one.path, []).append(number)

    def cut(path: Path) -> Field:
        return _field(path, [verdicts[n] for n in numbers[path]], um_per_pixel)

    with ThreadPoolExecutor(cores()) as pool:
        return list(zip(pool.map(cut, numbers), numbers.values(), strict=True))


def _field(path: Path, cells: list[Verdict], um_per_pixel: float | None) -> Field:
    nothing = [""] * len(cells), [None] * len(cells)
    if all(cell.status == "unreadable" for cell in cells):
        digest = fingerprint(path) if path.is_file() else ""
        return Field(path, digest, (0, 0), "", *nothing)
    image = read_image(path)
    height, width = image.shape[:2]
    for cell in cells:
        x, y = cell.middle or (0, 0)
        if not (0 <= x <= width and 0 <= y <= height):
            raise HematoVisionError(
                f"expected a cell at {x:g}, {y:g} of {path}, but that picture has only "
                f"{width}x{height} pixels: it has changed; call hv predict again"
            )
    found, um = [], 0.0
    if any(cell.middle and not cell.box for cell in cells):
        finding = find_cells(image, um_per_pixel=um_per_pixel)
        found, um = finding.cells, finding.um_per_pixel
    crops, boxes = [], []
    for cell in cells:
        box = cell.box or (cell.middle and _box(cell.middle, found, um))
        boxes.append(box and _inside(box, width, height))
        if box is None:
            crops.append("")
            continue
        wide = AROUND_BOX * max(box[2] - box[0], box[3] - box[1]) if cell.box else CROP_UM / um
        crops.append(jpeg(_square(image, cell.middle, wide), CROP_SIDE, CROP_QUALITY))
    picture = jpeg(image, FIELD_SIDE, FIELD_QUALITY)
    return Field(path, fingerprint(path), (height, width), picture, crops, boxes)


def _box(middle: tuple[float, float], found: list, um: float) -> Corners:
    """Return the box of the cell found at a place, or else a square of a cell's width."""
    x, y = middle
    near = min(found, key=lambda cell: np.hypot(cell.x - x, cell.y - y), default=None)
    if near is not None and np.hypot(near.x - x, near.y - y) <= NEAR:
        return near.box
    half = CELL_UM / um / 2
    return x - half, y - half, x + half, y + half


def _inside(box: Corners, width: int, height: int) -> Corners:
    low, high = (
        (max(0.0, side) for side in box[:2]),
        (min(most, side) for most, side in zip((width, height), box[2:], strict=True)),
    )
    return tuple(round(float(side), 1) for side in (*low, *high))


def _square(image: np.ndarray, middle: tuple[float, float], wide: float) -> np.ndarray:
    """Cut a square out of a picture; what lies outside has the ground's grey."""
    side = max(8, round(wide))
    x0, y0 = (round(place - side / 2) for place in middle)
    square = np.full((side, side, 3), GROUND, np.uint8)
    part = image[max(0, y0) : max(0, y0 + side), max(0, x0) : max(0, x0 + side)]
    top, left = max(0, -y0), max(0, -x0)
    square[top : top + part.shape[0], left : left + part.shape[1]] = part
    return square


def jpeg(image: np.ndarray, side: int, quality: int) -> str:
    """Return a JPEG as base64, its longest side `side` at most; a small crop is enlarged."""
    picture = Image.fromarray(image)
    scale = side / max(picture.size)
    if scale < 1 or side == CROP_SIDE:
        size = tuple(max(1, round(length * scale)) for length in picture.size)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return base64.b64encode(file.getvalue()).decode()
