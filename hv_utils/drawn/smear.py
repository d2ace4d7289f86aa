"""Draws photos of a stained blood smear, each with one white cell, its true outline and boxes.

No pixel comes from a photograph. What is drawn follows `labels.MORPHOLOGY`; the scale and the look
of the ground follow the real photos: 640x480 pixels, red cells about 104 pixels wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hv_utils.drawn.drawing import PLASMA, Outline, density, patch_grid, smooth_noise, step
from hv_utils.drawn.variants import TYPICAL
from hv_utils.drawn.white_cell import WhiteCell, draw_white_cell
from hv_utils.images.labels import MICROMETRES_PER_PIXEL, PLATELET_UM, RED_CELL_UM
from hv_utils.images.reading import PHOTO_SIZE
from hv_utils.images.voc import PLATELETS, RED_CELL, WHITE_CELL, Box

HAEMOGLOBIN = density(190, 158, 150)
PLATELET = density(158, 146, 207)
THICK_SHARE = 0.25
MOVED = 5.0
"""Pixels by which a slide moves at most, each way, between two photos of one field."""
LEAST_VISIBLE = 0.3
"""Share of a red cell or platelet that must lie inside the frame for it to get a box."""


@dataclass(frozen=True)
class Photo:
    """A drawn photo with its truth.

    Attributes
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    nucleus_mask, cell_mask : numpy.ndarray, shape (H, W), bool
        The white cell's nucleus; the whole white cell, nucleus included.
    boxes : list of Box
        The white cell first (`WBC`), then red cells (`RBC`) and `Platelets`.
    variant : str
        What was drawn of the class, see `variants`.
    """

    image: np.ndarray
    nucleus_mask: np.ndarray
    cell_mask: np.ndarray
    boxes: list[Box]
    variant: str = TYPICAL


def draw_photo(
    label: str,
    *,
    rng: np.random.Generator,
    size: tuple[int, int] = PHOTO_SIZE,
    variant: str | None = None,
) -> Photo:
    """Draw one photo of a smear with a white cell of class `label`.

    Parameters
    ----------
    label : str
        One of the four classes of `labels.CLASSES`.
    rng : numpy.random.Generator
        Source of randomness: the same generator state draws the same photo.
    size : tuple of int
        Height and width in pixels, at `labels.MICROMETRES_PER_PIXEL`.
    variant : str, optional
        One of the class's variants, see `variants.shares_of`; by default drawn at their rates.

    Returns
    -------
    Photo

    Raises
    ------
    HematoVisionError
        For a class that has no look, or a variant that it does not have.
    """
    # In the thick part of a film cells lie contracted, dark, and red cells lose their pallor.
    thick = rng.random() < THICK_SHARE
    contraction = rng.uniform(0.72, 0.9) if thick else 1
    white = draw_white_cell(label, rng=rng, contraction=contraction, variant=variant)
    radius = float(np.sqrt(white.cell.sum() / np.pi))
    place = _white_place(radius, size, rng)
    # Alkaline buffer stains bluer, acid pinker (horobin1987): one number for each smear.
    alkaline = rng.normal(0, 1)
    azure = (1 + 0.11 * alkaline) * rng.normal(1, 0.13)
    eosin = (1 - 0.16 * alkaline) * rng.normal(1, 0.15)
    if thick:
        azure, eosin = azure * rng.uniform(1.1, 1.4), eosin * rng.uniform(1.0, 1.25)

    red, platelets = np.zeros(size, np.float32), np.zeros(size, np.float32)
    boxes = []
    for centre, wide in _red_places(place, radius, size, rng):
        boxes += _add_red_cell(red, centre, wide, thick, rng)
    for _ in range(rng.choice(5, p=[0.3, 0.3, 0.2, 0.1, 0.1])):
        boxes += _add_platelet(platelets, place, radius, rng)
    haemoglobin = HAEMOGLOBIN * np.float32(eosin) * rng.normal(1, 0.04, 3).astype(np.float32)
    # Channel by channel: arithmetic that has to stretch one channel over three is slow.
    platelets *= np.float32(azure)
    canvas = np.dstack(
        [red * haemoglobin[c] + platelets * PLATELET[c] for c in range(len(haemoglobin))]
    )
    cell_mask, nucleus_mask = _add_white_cell(canvas, white, place, azure, eosin)
    box = _tight_box(WHITE_CELL, cell_mask, (0, 0))
    image = _photograph(canvas, rng)
    return Photo(image, nucleus_mask, cell_mask, [box, *boxes], white.variant)


def _white_place(radius: float, size: tuple[int, int], rng) -> tuple[int, int]:
    """Choose the white cell's middle (x, y): the whole cell in the frame, often near its edge.

    In the real set one copy in eight cuts its cell off, since cells lie at the edge of their photo.
    """
    inset = radius * 1.12 + MOVED
    height, width = size
    x, y = (
        length / 2 + (2 * rng.beta(0.5, 0.5) - 1) * max(length / 2 - inset, 0)
        for length in (width, height)
    )
    return round(x), round(y)


def _red_places(
    white: tuple[int, int], radius: float, size: tuple[int, int], rng
) -> list[tuple[np.ndarray, float]]:
    """Choose middles and diameters of red cells: some scattered, some touching one another.

    They may overlap a little, and may just touch the white cell.
    """
    height, width = size
    typical = rng.uniform(*RED_CELL_UM) / MICROMETRES_PER_PIXEL * rng.uniform(0.86, 1.02)
    wanted = round(rng.uniform(10, 34) * height * width / (PHOTO_SIZE[0] * PHOTO_SIZE[1]))
    sociable = rng.uniform(0.2, 0.85)
    overlap = rng.uniform(0.72, 0.95)
    chosen: list[tuple[np.ndarray, float]] = []
    for _ in range(wanted * 8):
        if len(chosen) == wanted:
            break
        wide = typical * rng.normal(1, 0.07)
        if chosen and rng.random() < sociable:
            partner, other = chosen[rng.integers(len(chosen))]
            angle = rng.uniform(0, 2 * np.pi)
            away = (wide + other) / 2 * rng.uniform(overlap, 1.02)
            centre = partner + away * np.array([np.cos(angle), np.sin(angle)])
        else:
            centre = rng.uniform(-0.3 * typical, np.array([width, height]) + 0.3 * typical)
        if np.hypot(*(centre - white)) < (radius + wide / 2) * 0.97:
            continue
        if all(np.hypot(*(centre - c)) > (wide + w) / 2 * overlap for c, w in chosen):
            chosen.append((centre, wide))
    return chosen


def _add_red_cell(canvas, centre, wide: float, thick: bool, rng) -> list[Box]:
    """Lay a red cell onto the canvas: a disc that is paler in its central third."""
    outline = Outline.draw(wide / 2, rng, oval=rng.choice([0.03, 0.10], p=[0.7, 0.3]), rough=0.015)
    x, y = patch_grid(wide * 0.68)
    distance = outline.distance(x, y)
    depth = np.clip(-distance / np.float32(wide / 2), 0, 1)  # 0 at the edge, 1 in the middle
    filled = rng.random() < (0.8 if thick else 0.25)
    pallor = rng.uniform(0, 0.2) if filled else rng.uniform(0.35, 0.9)
    middle = rng.uniform(0.42, 0.62)
    profile = 1 - np.float32(pallor) * step(np.float32(middle) - depth, 0.35)
    rim = 1 + 0.18 * np.exp(-(((depth - 0.06) / 0.05) ** 2))
    amount = profile * rim * step(distance, 4.5) * rng.normal(1.05, 0.14)
    return _paste(canvas, amount, distance < 0, centre, RED_CELL)


def _add_platelet(canvas, white, radius: float, rng) -> list[Box]:
    """Lay a platelet onto the canvas, outside the white cell."""
    height, width = canvas.shape
    wide = rng.uniform(*PLATELET_UM) / MICROMETRES_PER_PIXEL
    for _ in range(20):
        centre = rng.uniform(0, (width, height))
        if np.hypot(*(centre - white)) > radius + wide:
            break
    else:
        return []
    outline = Outline.draw(wide / 2, rng, oval=0.12, rough=0.06)
    x, y = patch_grid(wide * 0.9)
    distance = outline.distance(x, y)
    middle = np.exp(-((x**2 + y**2) / wide**2) * 6)
    grains = 1 + 0.3 * np.clip(smooth_noise(x.shape, 5, rng), -1, 2)
    amount = step(distance, 8) * (0.35 + 0.75 * middle * grains)
    return _paste(canvas, amount, distance < 0, centre, PLATELETS)


def _overlap(shape, patch_shape, centre) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of the canvas that a patch covers, and the part of the patch on it."""
    frame, patch = [], []
    for length, side, middle in zip(shape[:2], patch_shape[:2], centre[::-1], strict=True):
        start = round(float(middle)) - side // 2
        low, high = max(start, 0), min(start + side, length)
        frame.append(slice(low, max(high, low)))
        patch.append(slice(low - start, max(high, low) - start))
    return tuple(frame), tuple(patch)


def _paste(canvas, patch: np.ndarray, mask: np.ndarray, centre, name: str) -> list[Box]:
    """Add a patch's stain to the canvas; return its box where enough of it is in the frame."""
    frame, part = _overlap(canvas.shape, patch.shape, centre)
    below, above = canvas[frame], patch[part]
    # Where two cells lie on one another they are squeezed flat: less than both amounts together.
    canvas[frame] = np.maximum(below, above) + 0.35 * np.minimum(below, above)
    seen = mask[part]
    if seen.sum() < LEAST_VISIBLE * mask.sum():
        return []
    return [_tight_box(name, seen, (frame[1].start, frame[0].start))]


def _tight_box(name: str, mask: np.ndarray, corner: tuple[int, int]) -> Box:
    """Return the box round a mask whose upper left corner lies at `corner` (x, y)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = corner
    edges = (left + columns[0], top + rows[0], left + columns[-1], top + rows[-1])
    return Box(name, *(int(edge) for edge in edges))


def _add_white_cell(
    canvas, white: WhiteCell, place, azure: float, eosin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lay the white cell over what is there; return the masks of cell and nucleus."""
    frame, part = _overlap(canvas.shape, white.cell.shape, place)
    under = canvas[frame] * (1 - white.cover[part])[..., None]
    canvas[frame] = under + white.density[part] * azure + white.eosin[part] * eosin
    masks = []
    for patch in (white.cell, white.nucleus):
        mask = np.zeros(canvas.shape[:2], bool)
        mask[frame] = patch[part]
        masks.append(mask)
    return masks[0], masks[1]


def _photograph(canvas: np.ndarray, rng) -> np.ndarray:
    """Turn density into a photo: focus, lamp, white balance, sensor noise."""
    height, width = canvas.shape[:2]
    blur = rng.choice([rng.uniform(0.8, 1.7), rng.uniform(1.7, 3.2)], p=[0.7, 0.3])
    light = cv2.exp(-cv2.GaussianBlur(canvas, (0, 0), float(blur)))
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope = rng.normal(0, 0.07, 2).astype(np.float32)
    lamp = 1 + slope[0] * x + slope[1] * y
    lamp -= np.float32(rng.uniform(0, 0.08)) * (x * x + y * y)
    white = np.array(PLASMA) * rng.normal(1, 0.055) * rng.normal(1, 0.025, 3)
    # A sensor's noise is coarser in colour than in brightness, since it sees colour on a mosaic.
    grain = np.float32(rng.normal(2.0, 0.4)) * rng.standard_normal((height, width), np.float32)
    colour = 1.6 * rng.standard_normal((height // 2, width // 2, 3), np.float32)
    colour = cv2.resize(colour, (width, height), interpolation=cv2.INTER_LINEAR)
    channels = [
        cv2.add(
            light[..., c] * (lamp * np.float32(white[c])) + grain, colour[..., c], dtype=cv2.CV_8U
        )
        for c in range(3)
    ]
    return np.dstack(channels)  # rounded, and clipped to 0…255


def photograph_again(photo: Photo, *, rng: np.random.Generator) -> Photo:
    """Take a second photo of the same field: the slide moved a little, lamp and focus set anew.

    Parameters
    ----------
    photo : Photo
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Photo
        Its masks and boxes are moved along; a red cell or platelet that left the frame has no box.
    """
    height, width = photo.image.shape[:2]
    shift = rng.uniform(1, MOVED, 2) * rng.choice([-1, 1], 2)
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])

    def moved(array: np.ndarray, flags: int, border: int) -> np.ndarray:
        return cv2.warpAffine(array, move, (width, height), flags=flags, borderMode=border)

    image = moved(photo.image, cv2.INTER_CUBIC, cv2.BORDER_REFLECT).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1))
    image *= (rng.normal(1, 0.02) * rng.normal(1, 0.007, 3)).astype(np.float32)
    image += rng.normal(2.0, 0.4) * rng.standard_normal((height, width, 1), dtype=np.float32)
    nucleus, cell = (
        moved(mask.astype(np.uint8), cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 0
        for mask in (photo.nucleus_mask, photo.cell_mask)
    )
    boxes = [_moved_box(box, shift, (height, width)) for box in photo.boxes]
    boxes = [box for box in boxes if box.xmin < box.xmax and box.ymin < box.ymax]
    image = np.clip(np.round(image), 0, 255).astype(np.uint8)
    return Photo(image, nucleus, cell, boxes, photo.variant)


def _moved_box(box: Box, shift: np.ndarray, size: tuple[int, int]) -> Box:
    height, width = size
    across, down = (round(float(part)) for part in shift)
    return Box(
        box.name,
        min(max(box.xmin + across, 0), width - 1),
        min(max(box.ymin + down, 0), height - 1),
        min(max(box.xmax + across, 0), width - 1),
        min(max(box.ymax + down, 0), height - 1),
    )
