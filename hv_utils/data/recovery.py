"""Which photo was each augmented copy made from? Recovered from the pixels, since no name tells.

The published copies were made by rotating, shifting, shearing and mirroring a few hundred photos.
Copies of one photo must never stand on both sides of a split, and the name of a copy does not say
which photo it shows (the number in it is a place in a shuffled epoch). So every copy is matched
with every photo by its local features, and the match is verified on the pixels: the photo, laid
over the copy by the map found, has to show the same. A copy without such a photo is left unknown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import pandas as pd
from rich.progress import track
from threadpoolctl import threadpool_limits

from hv_utils.data import local_features as local
from hv_utils.data.kaggle import SPLIT_FOLDERS, find_folder
from hv_utils.data.overlaps import find_overlaps, group_photos
from hv_utils.data.photo_index import (
    CANDIDATES,
    Photo,
    PhotoIndex,
    affine_columns,
    credible,
    read_grey,
    read_photo,
)
from hv_utils.data.source_map import AFFINE, BOX, KINDS, LEFT_THE_FRAME, MAP_COLUMNS, carry_boxes
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import fingerprint
from hv_utils.ground.memory import keep_freed_memory
from hv_utils.images.listing import images_below
from hv_utils.images.reading import ImageError

# The second, patient look is for copies of blurred photos, which have few features.
LOOKS = (0.04, 0.01)
LARGEST_UNEXPLAINED = 0.01
CLEAR_LEAD = 0.005


def recover_sources(
    root: str | Path, *, workers: int | None = None, progress: bool = True
) -> pd.DataFrame:
    """Find the source photo of every augmented copy of an archive.

    Parameters
    ----------
    root : str or Path
        A folder below which, at any depth, lie TRAIN and TEST (TEST_SIMPLE, too, where there is
        one) with one folder per class, and JPEGImages, with Annotations beside it.
    workers : int, optional
        Threads; the number of cores where not given. The result does not depend on it.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    pandas.DataFrame
        One row per file, sorted by path: the columns of `source_map.MAP_COLUMNS`, and `reason`,
        which says why a row has no photo ("" where it has one). In `attrs["overlaps"]` the rows
        of `overlaps.find_overlaps`, the pairs of photos that show the same field; in
        `attrs["unreadable"]` the photos that could not be read, with the reason.

    Raises
    ------
    HematoVisionError
        Where there is no TRAIN or TEST, no image in them, no JPEGImages, or no readable photo.
    """
    copies = copy_files(Path(root))
    folder = find_folder(Path(root), "JPEGImages")
    annotations = folder.parent / "Annotations"
    workers = workers or os.cpu_count() or 1
    keep_freed_memory()
    with _one_core_a_thread():
        photos, unreadable = read_photos(folder, workers=workers, progress=progress)
        index = PhotoIndex(photos)
        pairs = find_overlaps(index, annotations=annotations, workers=workers)
        groups = group_photos([photo.name for photo in photos], pairs)
        with ThreadPoolExecutor(workers) as pool:
            found = pool.map(lambda path: _recover(path, index, groups), copies.values())
            rows = list(_shown(found, "finding sources", total=len(copies), show=progress))
    table = _map_of(rows, copies, annotations=annotations)
    # Plain values: pandas compares attributes by `==` where tables meet.
    pairs = pairs.astype(object).where(pairs.notna(), None).to_dict("records")
    table.attrs = {"overlaps": pairs, "unreadable": unreadable}
    return table


def _map_of(rows: list[dict], copies: Iterable[str], *, annotations: Path) -> pd.DataFrame:
    """Turn the rows of all copies into a source map with boxes, typed as when read from a file."""
    columns = ["cell", "group", "mirrored", *AFFINE, "inliers", "correlation", "height", "width"]
    table = pd.DataFrame(rows).rename(columns={"photo": "cell"})
    # A column that no row has (nothing was recovered) is there, too, and empty.
    table = table.reindex(columns=["sha256", *columns, "reason"]).assign(path=list(copies))
    table = carry_boxes(table, annotations=annotations)
    table = table.rename(columns={"cell": "photo", **{name: f"box_{name}" for name in BOX}})
    kinds = KINDS | dict.fromkeys([*AFFINE, "correlation"], float)
    return table[[*MAP_COLUMNS, "reason"]].astype(kinds)


def copy_files(root: Path) -> dict[str, Path]:
    """List the copies of an archive by their path below the folder that holds TRAIN.

    Returns
    -------
    dict of str to Path
        Such as `TRAIN/EOSINOPHIL/_0_207.jpeg`, sorted.

    Raises
    ------
    HematoVisionError
        Where TRAIN or TEST is missing, or neither holds an image.
    """
    base = find_folder(root, "TRAIN").parent
    find_folder(base, "TEST")
    files = [
        path
        for name in SPLIT_FOLDERS
        if (base / name).is_dir()
        for path in images_below(base / name).files
        if path.is_file()
    ]
    if not files:
        raise HematoVisionError(
            f"expected images in TRAIN and TEST of {base}, but there is none: "
            "the archive was unpacked only in part; unpack it again"
        )
    return dict(sorted((path.relative_to(base).as_posix(), path) for path in files))


def read_photos(
    folder: Path, *, workers: int, progress: bool = False
) -> tuple[list[Photo], dict[str, str]]:
    """Read the photos of a folder; those that cannot be read are reported, not fatal.

    Returns
    -------
    photos : list of Photo
        In the order of their numbers.
    unreadable : dict of str to str
        File name and reason.

    Raises
    ------
    HematoVisionError
        Where there is no readable photo with a number in its name.
    """
    numbered = {}
    for path in images_below(folder).files:
        digits = re.findall(r"\d+", path.stem)
        if digits:
            numbered[digits[-1]] = path
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(_read_or_reason, numbered.values(), numbered)
        found = list(_shown(found, "reading photos", total=len(numbered), show=progress))
    photos = [one for one in found if isinstance(one, Photo)]
    unreadable = {
        path.name: one
        for path, one in zip(numbered.values(), found, strict=True)
        if isinstance(one, str)
    }
    if not photos:
        first = next(iter(unreadable.values()), "it holds no image with a number in its name")
        raise HematoVisionError(
            f"expected photos such as BloodImage_00000.jpg in {folder}, but none can be used "
            f"({first}): the archive was unpacked only in part; unpack it again"
        )
    return photos, unreadable


def recovery_report(table: pd.DataFrame) -> dict:
    """Summarise a recovered map for a reader.

    Parameters
    ----------
    table : pandas.DataFrame
        From `recover_sources` or `source_map.read_map`.

    Returns
    -------
    dict
        `images`, `assigned`, `assigned_share`; `photos_per_class` {split: {class: photos}};
        `groups_of_several` {group: [photos]} among the photos used; `groups_on_both_sides`, the
        groups with copies in TRAIN and in TEST; `unknown` {path: reason}; `left_the_frame`, the
        number of copies that show less than half of their cell's box; `without_box`, the photos
        used that have no box.
    """
    parts = table["path"].str.split("/", expand=True)
    known = table[table["photo"].notna()].assign(split=parts[0], label=parts[1].str.lower())
    counted = known.groupby(["split", "label"])["photo"].nunique()
    members = known.groupby("group")["photo"].unique().map(sorted)
    train, test = (set(known.loc[known["split"] == name, "group"]) for name in ("TRAIN", "TEST"))
    unknown = table[table["photo"].isna()]
    reasons = unknown["reason"] if "reason" in unknown else pd.Series("", index=unknown.index)
    return {
        "images": len(table),
        "assigned": len(known),
        "assigned_share": len(known) / max(1, len(table)),
        "photos_per_class": {
            split: counts.droplevel(0).to_dict() for split, counts in counted.groupby(level=0)
        },
        "groups_of_several": members[members.map(len) > 1].to_dict(),
        "groups_on_both_sides": sorted(train & test),
        "unknown": dict(zip(unknown["path"], reasons, strict=True)),
        "left_the_frame": int((known["visible"] < LEFT_THE_FRAME).sum()),
        "without_box": sorted(set(known.loc[known["visible"].isna(), "photo"])),
    }


def _recover(path: Path, index: PhotoIndex, groups: dict[str, str]) -> dict:
    """Return the row of one copy; see `recover_sources`."""
    row = {"sha256": fingerprint(path), "photo": pd.NA, "group": pd.NA, "reason": ""}
    try:
        grey = read_grey(path)
    except ImageError as error:
        return {**row, "reason": str(error)}
    row |= {"height": grey.shape[0], "width": grey.shape[1]}
    reason = "it shows no photo of the archive"
    for contrast in LOOKS:
        features = local.extract(grey, contrast=contrast)
        sides, votes = index.sides_like(features)
        fits = [
            (fit, index.photos[side // 2].name)
            for side, vote in zip(sides[:CANDIDATES], votes, strict=False)
            if 20 * vote >= votes[0]
            and (fit := index.fit_side(side, features, grey)) is not None
            and credible(fit)
            and fit.unexplained <= LARGEST_UNEXPLAINED
        ]
        fits.sort(key=lambda pair: (-pair[0].correlation, pair[1]))
        if not fits:
            continue
        (fit, name), others = fits[0], fits[1:]
        rivals = [
            rival
            for other, rival in others
            if fit.correlation - other.correlation < CLEAR_LEAD and groups[rival] != groups[name]
        ]
        if rivals:
            reason = f"it shows photos {name} and {rivals[0]} equally well"
            continue
        return row | {
            "photo": name,
            "group": groups[name],
            "mirrored": fit.mirrored,
            "inliers": fit.inliers,
            "correlation": round(fit.correlation, 3),
            **affine_columns(fit.affine),
        }
    return {**row, "reason": reason}


def _read_or_reason(path: Path, name: str) -> Photo | str:
    try:
        return read_photo(path, name)
    except ImageError as error:
        return str(error)


def _shown(items: Iterable, title: str, *, total: int, show: bool) -> Iterator:
    return track(items, title, total=total) if show else iter(items)


@contextmanager
def _one_core_a_thread() -> Iterator[None]:
    """Keep OpenCV and BLAS from splitting small jobs: whole images are shared out instead."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(before)
