"""Fields with boxes to learn a detector from: the set's photographs, and drawn ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hv_utils.data.overlaps import group_photos, read_overlaps
from hv_utils.data.source_map import read_source_map
from hv_utils.drawn.smear import draw_photo
from hv_utils.fields.scale import measure_scale
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES
from hv_utils.images.reading import read_image
from hv_utils.images.voc import PLATELETS, RED_CELL, WHITE_CELL, Box, read_boxes
from hv_utils.inference.detector import FIELD_KINDS, at_scale

NAMES = dict(zip((WHITE_CELL, RED_CELL, PLATELETS), range(len(FIELD_KINDS)), strict=True))
PARTS = {"train": 0.7, "val": 0.1, "test": 0.2}
LEAST_SIDE = 3  # pixels: narrower boxes are slips of the hand


@dataclass(frozen=True)
class TrueField:
    """A field and its boxes.

    Attributes
    ----------
    name : str
    image : numpy.ndarray, shape (H, W, 3), uint8
        As the camera took it.
    boxes : numpy.ndarray, shape (B, 4), float
        xmin, ymin, xmax, ymax in pixels of the image.
    kinds : numpy.ndarray, shape (B,), int
        Positions in `FIELD_KINDS`.
    complete : bool
        Whether every cell has its box; in the photographs many red cells have none.
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray
    kinds: np.ndarray
    complete: bool = False

    def to_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the field as the detector looks at it, and the boxes there."""
        scale, stain = measure_scale(self.image)
        field = at_scale(self.image, scale.um_per_pixel, stain.ground)
        return field, self.boxes * (field.shape[1] / self.image.shape[1])


def photographed_fields(root: Path, *, seed: int = 0) -> dict[str, list[TrueField]]:
    """Read the annotated photographs that TEST shows nothing of, in three parts.

    Parameters
    ----------
    root : Path
        The unpacked set.
    seed : int
        Deals the groups of photographs, which show one field, to the parts.

    Returns
    -------
    dict of str to list of TrueField
        `train`, `val` and `test`.

    Raises
    ------
    HematoVisionError
        Where the set has no annotated photographs.
    """
    files = {path.stem.split("_")[1]: path for path in sorted(root.rglob("BloodImage_*.xml"))}
    if not files:
        raise HematoVisionError(
            f"expected annotated photographs (BloodImage_….xml) below {root}, but there are none: "
            "give the whole archive, not a part of it"
        )
    groups = group_photos(list(files), _among(files))
    barred = {groups[photo] for photo in photos_of_test() if photo in groups}
    names = sorted(set(groups.values()) - barred)
    order = np.random.default_rng(seed).permutation(names)
    ends = np.cumsum([round(share * len(order)) for share in PARTS.values()])[:-1]
    part_of = {
        name: part
        for part, dealt in zip(PARTS, np.split(order, ends), strict=True)
        for name in dealt
    }
    parts: dict[str, list[TrueField]] = {part: [] for part in PARTS}
    for photo, path in files.items():
        image = path.parent.parent / "JPEGImages" / f"{path.stem}.jpg"
        if groups[photo] not in barred and image.is_file():
            try:
                field = _field(photo, read_image(image), read_boxes(path))
            except HematoVisionError as error:  # one of hundreds must not cost the others
                print(f"left out: {error}", flush=True)
                continue
            parts[part_of[groups[photo]]].append(field)
    return parts


def photos_of_test() -> set[str]:
    """Return the photographs that copies of the official TEST were made from."""
    table = read_source_map()
    return set(table.loc[~table["path"].str.startswith("TRAIN"), "photo"].dropna())


def drawn_fields(count: int, *, seed: int = 0) -> list[TrueField]:
    """Draw fields of the four classes in turn.

    Parameters
    ----------
    count : int
    seed : int
    """
    drawn = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        photo = draw_photo(CLASSES[number % len(CLASSES)], rng=rng)
        drawn.append(_field(f"drawn {number}", photo.image, photo.boxes, complete=True))
    return drawn


def _among(files: Iterable[str]) -> pd.DataFrame:
    pairs = read_overlaps()
    known = set(files)
    return pairs[pairs["photo"].isin(known) & pairs["other"].isin(known)]


def _field(
    name: str, image: np.ndarray, boxes: Iterable[Box], *, complete: bool = False
) -> TrueField:
    kept = [
        (box.xmin, box.ymin, box.xmax, box.ymax, NAMES[box.name])
        for box in boxes
        if box.name in NAMES and min(box.xmax - box.xmin, box.ymax - box.ymin) >= LEAST_SIDE
    ]
    table = np.array(kept, float).reshape(-1, 5)
    return TrueField(name, image, table[:, :4], table[:, 4].astype(int), complete)
