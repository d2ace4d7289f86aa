"""The three sources of images (demo, kaggle, folder), read into one image table."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hv_utils.data import archive as archives
from hv_utils.data.source_map import SOURCE_MAP, attach_sources, carry_boxes, read_source_map
from hv_utils.data.splits import check_no_leak, hold_out, set_aside_shared
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import fingerprint
from hv_utils.ground.progress import print_progress
from hv_utils.ground.runs import Run
from hv_utils.images.labels import CLASSES, normalise_label
from hv_utils.images.reading import IMAGE_SUFFIXES, read_image
from hv_utils.images.voc import read_boxes

SOURCES = ("demo", "kaggle", "folder")
SPLITS = {"TRAIN": "train", "TEST": "test", "TEST_SIMPLE": "simple"}


@dataclass(frozen=True)
class DataSet:
    """What a source holds.

    Attributes
    ----------
    images : pandas.DataFrame
        The image table, one row per readable image: `path` (absolute), `label`, `split` (train,
        val, test; `unplaced` for images that no side may hold; `simple` for the un-augmented test
        photos), `cell` (source photo, or missing), `source`; besides `group` (photos that show
        the same field share it), `width`, `height` (pixels), `brightness` (mean grey value, 0 to
        255), `sha256`, the white cell's box `xmin, ymin, xmax, ymax` in the image's pixels with
        `visible` (share of the box inside the frame), and `mask` (path of the true outline), each
        missing where not known.
    photos : pandas.DataFrame
        The originals, one row per row of labels.csv: `photo`, `path`, `category` (as written),
        `label` (missing where doubtful), `doubt` (why a row is unusable, "" where it is not),
        `white_cells` (VOC boxes called WBC). Empty for a folder.
    left_out : pandas.DataFrame
        Images that could not be read: `path`, `reason`.
    facts : dict
        What identifies the data: name, root, bytes, fingerprint.
    """

    images: pd.DataFrame
    photos: pd.DataFrame
    left_out: pd.DataFrame
    facts: dict


def load(
    source: str,
    *,
    run: Run,
    archive: str = "",
    folder: str = "",
    source_map: str = "",
    seed: int = 0,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    demo: Mapping | None = None,
) -> DataSet:
    """Read a source into one image table with its validation part held out by source photo.

    Parameters
    ----------
    source : str
        `demo` (drawn, needs nothing), `kaggle` (an archive or a download) or `folder` (one
        sub-folder per class).
    run : Run
        The demo is drawn into this run's folder.
    archive : str
        For `kaggle`: a zip file or unpacked folder; "" downloads it.
    folder : str
        For `folder`: the folder of class folders.
    source_map : str
        For `kaggle`: which photo each image was made from, see `source_map.read_source_map`; "" for
        the published map, which knows the set as Kaggle has it.
    seed : int
        Draws the demo and the held-out parts.
    val_fraction, test_fraction : float
        Shares held out; the test share only for `folder`, as the others bring their TEST.
    demo : mapping, optional
        Sizes for `hv_utils.drawn.demo.make_demo`.

    Returns
    -------
    DataSet

    Raises
    ------
    HematoVisionError
        For an unknown source, or one that does not hold what it should, or whose images the source
        map does not know.
    """
    if source == "demo":
        root, facts = _draw_demo(run, seed=seed, **(demo or {}))
    elif source == "kaggle":
        root, facts = archives.open_archive(archive)
    elif source == "folder":
        root, facts = _class_root(folder)
    else:
        raise HematoVisionError(
            f"expected source to be one of {', '.join(SOURCES)}, but it is {source!r}: "
            "check the profile, or the value behind -p source"
        )
    files = class_folder_files(root) if source == "folder" else split_folder_files(root)
    images, left_out = inspect_images(files)
    images = images.assign(source=source)
    photos = read_photos(root) if source != "folder" else _no_photos()
    images = _with_sources(images, root=root, source=source, source_map=source_map)
    images = set_aside_shared(images)
    if source == "folder":
        images = hold_out(images, fraction=test_fraction, seed=seed, to="test")
    images = hold_out(images, fraction=val_fraction, seed=seed)
    check_no_leak(images)
    facts = {"source": source, **facts, "images_sha256": _content_fingerprint(images, root)}
    return DataSet(images, photos, left_out, facts)


def split_folder_files(root: Path) -> pd.DataFrame:
    """List the images of a folder in the data set's layout: TRAIN, TEST and TEST_SIMPLE.

    Returns
    -------
    pandas.DataFrame
        Columns `path`, `label`, `split`.

    Raises
    ------
    HematoVisionError
        Where TRAIN or TEST is missing or empty, or their classes differ.
    """
    train = archives.find_folder(root, "TRAIN")
    tables = {
        name: class_folder_files(train.parent / name).assign(split=split)
        for name, split in SPLITS.items()
        if name != "TEST_SIMPLE" or (train.parent / name).is_dir()
    }
    classes = {name: sorted(set(table["label"])) for name, table in tables.items()}
    if classes["TRAIN"] != classes["TEST"]:
        missing = sorted(set(classes["TRAIN"]) ^ set(classes["TEST"]))
        raise HematoVisionError(
            f"expected the same class folders in TRAIN and TEST of {train.parent}, but "
            f"{', '.join(missing)} is in one alone: the archive was unpacked only in part"
        )
    return pd.concat(tables.values(), ignore_index=True)


def class_folder_files(folder: Path) -> pd.DataFrame:
    """List the images below `folder`, which has one sub-folder per class.

    Returns
    -------
    pandas.DataFrame
        Columns `path`, `label`, and `split`, which is `train` throughout.

    Raises
    ------
    HematoVisionError
        Where there is no such folder, fewer than two class folders, or an empty one.
    """
    if not folder.is_dir():
        raise HematoVisionError(
            f"expected a folder with one sub-folder per class at {folder}, but there is none: "
            "check the path, or fetch the archive again"
        )
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    if len(classes) < 2:
        raise HematoVisionError(
            f"expected at least two class folders in {folder}, but it has {len(classes)}: "
            f"make one folder per class, such as {folder.name}/neutrophil"
        )
    rows = []
    for class_folder in classes:
        files = sorted(p for p in class_folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise HematoVisionError(
                f"expected images in the class folder {class_folder}, but it has none: "
                f"put {', '.join(sorted(IMAGE_SUFFIXES))} files there or remove the folder"
            )
        label = normalise_label(class_folder.name)
        rows += [{"path": str(path.absolute()), "label": label, "split": "train"} for path in files]
    return pd.DataFrame(rows)


def inspect_images(files: pd.DataFrame, *, workers: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every image once, to measure it and to find the ones that cannot be read.

    Parameters
    ----------
    files : pandas.DataFrame
        Has a column `path`.
    workers : int
        Threads; decoding leaves the interpreter's lock alone.

    Returns
    -------
    images : pandas.DataFrame
        `files` without the unreadable rows, with `width`, `height`, `brightness`, `sha256`.
    left_out : pandas.DataFrame
        Columns `path` and `reason`.
    """
    progress = print_progress("reading images")
    found = []
    with ThreadPoolExecutor(workers) as pool:
        for facts in pool.map(_inspect, files["path"]):
            found.append(facts)
            progress(len(found), len(files))
    facts = pd.DataFrame(found, index=files.index)
    bad = facts["reason"] != ""
    left_out = pd.DataFrame({"path": files.loc[bad, "path"], "reason": facts.loc[bad, "reason"]})
    images = files[~bad].join(facts.loc[~bad].drop(columns="reason"))
    images = images.astype({"width": int, "height": int})
    if images.empty:
        raise HematoVisionError(
            f"expected readable images, but none of {len(files)} files is one; the first: "
            f"{left_out['reason'].iloc[0]}"
        )
    return images.reset_index(drop=True), left_out.reset_index(drop=True)


def _inspect(path: str) -> dict:
    try:
        image = read_image(path)
    except HematoVisionError as error:
        blank = {"width": None, "height": None, "brightness": None, "sha256": None}
        return {**blank, "reason": str(error)}
    height, width = image.shape[:2]
    grey = float(image.mean())
    return {
        "width": width,
        "height": height,
        "brightness": round(grey, 2),
        "sha256": fingerprint(Path(path)),
        "reason": "",
    }


def read_photos(root: Path) -> pd.DataFrame:
    """Read the originals: labels.csv with the photo and the boxes that belong to each row.

    Returns
    -------
    pandas.DataFrame
        See `DataSet.photos`; empty where the archive holds no labels.csv or no photos.
    """
    labels = next(iter(sorted(root.rglob("labels.csv"))), None)
    if labels is None:
        return _no_photos()
    rows = pd.read_csv(labels, dtype=str, keep_default_na=False)
    try:
        folder = archives.find_folder(root, "JPEGImages")
    except HematoVisionError:
        folder = root / "JPEGImages"
    table = [
        _photo_row(f"{int(number):05d}", category.strip(), folder)
        for number, category in zip(rows["Image"], rows["Category"], strict=True)
        if number.strip().isdigit()
    ]
    return pd.DataFrame(table)


def _photo_row(photo: str, category: str, folder: Path) -> dict:
    path = folder / f"BloodImage_{photo}.jpg"
    boxes = folder.parent / "Annotations" / f"BloodImage_{photo}.xml"
    named = [name for name in re.split(r"\s*,\s*", category) if name]
    doubt = "blank" if not named else "several cells" if len(named) > 1 else ""
    label = normalise_label(named[0]) if not doubt else None
    if label and label not in CLASSES:
        doubt = "another class"
    elif not path.exists():
        doubt = doubt or "photo missing"
    white_cells = sum(box.name == "WBC" for box in read_boxes(boxes)) if boxes.exists() else 0
    return {
        "photo": photo,
        "path": str(path),
        "category": category,
        "label": label,
        "doubt": doubt,
        "white_cells": white_cells,
    }


def _no_photos() -> pd.DataFrame:
    columns = ["photo", "path", "category", "label", "doubt", "white_cells"]
    return pd.DataFrame(columns=columns)


def _with_sources(
    images: pd.DataFrame, *, root: Path, source: str, source_map: str
) -> pd.DataFrame:
    """Add source photo, group, box and mask where they are known."""
    if source == "demo":
        truth = pd.read_csv(root / "truth" / "truth.csv", dtype={"photo": "string"})
        images = _attach_truth(images, truth, root)
        return carry_boxes(images, annotations=archives.find_folder(root, "Annotations"))
    if source == "kaggle":
        images = attach_sources(images, read_source_map(source_map or SOURCE_MAP))
        if images["cell"].isna().all():
            raise HematoVisionError(
                f"expected the images of {archives.DATASET}, but the source map knows none of "
                f"these {len(images):,}: they were saved again or are others, and copies of one "
                "photo could come to lie on both sides of a split. Make a map with "
                "`hv data sources --archive … --out map.csv` and give it with -p source_map map.csv"
            )
        return images
    unknown = pd.Series(pd.NA, index=images.index, dtype="string")
    return images.assign(cell=unknown, group=unknown)


def _attach_truth(images: pd.DataFrame, truth: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Join the demo's own record of which photo each copy was made from."""
    base = archives.find_folder(root, "TRAIN").parent
    relative = images["path"].map(lambda path: Path(path).relative_to(base).as_posix())
    truth = truth.set_index("path").loc[relative].reset_index(drop=True)
    masks = root / "truth" / "masks"
    truth = truth.assign(
        cell=truth["photo"],
        group=truth["photo"],
        mask=[str(masks / Path(name).with_suffix(".png")) for name in relative],
    )
    return images.join(truth.drop(columns="photo"))


def _draw_demo(run: Run, *, seed: int, **sizes) -> tuple[Path, dict]:
    from hv_utils.drawn.demo import make_demo

    return make_demo(run.path("data"), seed=seed, **sizes), {"archive": "drawn", "seed": seed}


def _class_root(folder: str) -> tuple[Path, dict]:
    if not folder:
        raise HematoVisionError(
            "expected a folder with one sub-folder per class, but none was given: "
            "name it with -p folder PATH"
        )
    root = Path(folder).expanduser()
    class_folder_files(root)
    return root, {"archive": root.name}


def _content_fingerprint(images: pd.DataFrame, root: Path) -> str:
    """Return one SHA-256 over names and contents of all images, in the order of their names."""
    lines: Iterable[str] = (
        f"{Path(path).relative_to(root.absolute()).as_posix()} {digest}\n"
        for path, digest in sorted(zip(images["path"], images["sha256"], strict=True))
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
