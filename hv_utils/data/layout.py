"""Folders as labels: one folder a class, and perhaps folders of training, validation and test."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import is_system
from hv_utils.images.labels import normalise_label
from hv_utils.images.listing import IMAGE_SUFFIXES, Listing, images_below

SPLITS = ("train", "val", "test", "simple")
SIMPLE = "test_simple"  # the un-augmented test photos of the Kaggle set
SPLIT_NAME = re.compile(
    r"(?:(train|training)|(val|valid|validation|dev)|(test|testing))"
    r"(?:[ _-]?(?:set|data|images|split|[a-z]|\d+))?"
)


def split_named(name: str) -> str:
    """Return the split that a folder's name stands for: train, val, test, simple, or ""."""
    if name.lower() == SIMPLE:
        return "simple"
    found = SPLIT_NAME.fullmatch(name.lower())
    return SPLITS[found.lastindex - 1] if found else ""


def read_folders(root: Path) -> tuple[pd.DataFrame, list[str]]:
    """List the images of a folder of class folders.

    Folders called train, val and test, or much the same, are taken as the splits, be they above
    the class folders or in them; without any, everything is `train`.

    Parameters
    ----------
    root : Path
        The folder.

    Returns
    -------
    files : pandas.DataFrame
        Columns `path` (absolute), `label`, `split` (train, val, test, simple).
    notes : list of str
        What was passed over, and what was taken together.

    Raises
    ------
    HematoVisionError
        Where there is no such folder, fewer than two classes, a class folder without images, a
        class that a split lacks, or a split for some images only.
    """
    if not root.is_dir():
        raise HematoVisionError(
            f"expected a folder with one sub-folder per class at {root}, but there is none: "
            "check the path"
        )
    listing = images_below(root)
    rows = [(path, *_place(path.relative_to(root).parts[:-1])) for path in listing.files]
    table = pd.DataFrame(rows, columns=["path", "folder", "split"], dtype=object)
    loose, table = table[table["folder"] == ""], table[table["folder"] != ""].copy()
    _refuse_empty_folders(root, table, listing)
    _refuse_half_a_split(root, table)
    labels = {folder: _label(folder, root) for folder in sorted(table["folder"].unique())}
    table["label"] = table["folder"].map(labels)
    _refuse_missing_classes(root, table)
    notes = [listing.left_out()]
    if len(loose):
        notes.append(
            f"left out as in no class folder: {len(loose):,} images, "
            f"such as {loose['path'].iloc[0]}"
        )
    for label in sorted(set(labels.values())):
        names = sorted(folder for folder in labels if labels[folder] == label)
        if len({name.lower() for name in names}) > 1:
            notes.append(f"taken as one class, {label}: the folders {', '.join(names)}")
    table["path"] = [str(path.absolute()) for path in table["path"]]
    table["split"] = table["split"].replace("", "train")
    # Training first, as draws of what is held out depend on the order.
    table = table.sort_values("split", key=lambda names: names.map(SPLITS.index), kind="stable")
    files = table[["path", "label", "split"]].astype(str)
    return files.reset_index(drop=True), [note for note in notes if note]


def _place(folders: tuple[str, ...]) -> tuple[str, str]:
    """Return (class folder, split) of an image from the folders that it lies in, "" for none."""
    first, second, *_ = (*folders, "", "")
    if split := split_named(first):
        return second, split
    return first, split_named(second)


def below_class(path: str | Path, root: Path) -> str:
    """Return an image's path below its class folder, and its split's, with slashes."""
    parts = Path(path).relative_to(root).parts
    within = any(split_named(folder) for folder in parts[:-1][:2])
    return "/".join(parts[2 if within else 1 :])


def _refuse_empty_folders(root: Path, table: pd.DataFrame, listing: Listing) -> None:
    class_folders = [
        below
        for folder in _subfolders(root)
        for below in (_subfolders(folder) if split_named(folder.name) else [folder])
    ]
    full = {path.relative_to(root).parts[:2] for path in table["path"]}
    full |= {parts[:1] for parts in full}
    empty = [one for one in class_folders if one.relative_to(root).parts not in full]
    if len(class_folders) < 2:
        raise HematoVisionError(
            f"expected at least two class folders in {root}, but it has {len(class_folders)}: "
            f"make one folder per class, such as {root.name}/neutrophil"
        )
    if empty:
        raise HematoVisionError(
            f"expected images in the class folder {empty[0]}, but it has none"
            f"{f' ({listing.left_out()})' if listing.others else ''}: "
            f"put {', '.join(sorted(IMAGE_SUFFIXES))} files there or remove the folder"
        )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir() and not is_system(one.name))


def _refuse_half_a_split(root: Path, table: pd.DataFrame) -> None:
    placed = table["split"] != ""
    if placed.any() and not placed.all():
        raise HematoVisionError(
            f"expected train, val and test folders for all images of {root} or for none, but "
            f"{table.loc[placed, 'path'].iloc[0]} is in one and "
            f"{table.loc[~placed, 'path'].iloc[0]} is not: move what is not to be split elsewhere"
        )
    if placed.any() and "train" not in set(table["split"]):
        raise HematoVisionError(
            f"expected a train folder among the splits of {root}, but there are only "
            f"{', '.join(sorted(table['split'].unique()))}: give the folder above, or rename them"
        )


def _label(folder: str, root: Path) -> str:
    try:
        folder.encode()
    except UnicodeEncodeError as error:
        raise HematoVisionError(
            f"expected the names of class folders to be text, but {root} holds {folder!r}, which "
            "is not UTF-8: rename it"
        ) from error
    return normalise_label(folder)


def _refuse_missing_classes(root: Path, table: pd.DataFrame) -> None:
    classes = {name: set(part["label"]) for name, part in table.groupby("split")}
    every = sorted(set().union(*classes.values()))
    if len(every) < 2:
        raise HematoVisionError(
            f"expected at least two classes in {root}, but its folders "
            f"{', '.join(sorted(table['folder'].unique()))} are all {every[0]}: "
            "add a folder of another class"
        )
    for name in (split for split in SPLITS if split in classes and split != "simple"):
        missing = [label for label in every if label not in classes[name]]
        if missing:
            raise HematoVisionError(
                f"expected the same class folders in every split of {root}, but {name} lacks "
                f"{', '.join(missing)}: the copy is incomplete, or the folder has another name"
            )
