"""The sources of images, each a module of its own, read into one image table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from hv_utils.data import chula, demo, folder, kaggle, pbc
from hv_utils.data.layout import SPLITS
from hv_utils.data.protocol import PHOTO_COLUMNS, Place, Settings, Source
from hv_utils.data.splits import (
    UNPLACED,
    check_no_leak,
    hold_out,
    set_aside_shared,
    source_groups,
)
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import fingerprint
from hv_utils.ground.progress import print_progress
from hv_utils.ground.runs import Run
from hv_utils.images.reading import read_image

SOURCES: dict[str, Source] = {
    "demo": demo,
    "kaggle": kaggle,
    "pbc": pbc,
    "chula": chula,
    "folder": folder,
}


@dataclass(frozen=True)
class DataSet:
    """What a source holds.

    Attributes
    ----------
    images : pandas.DataFrame
        The image table, one row per readable image: `path` (absolute), `label`, `split` (train,
        val, test; `unplaced` for images that no side may hold; `simple` for the un-augmented test
        photos), `cell` (source photo, or missing), `source`, `laboratory` (which stained and
        photographed the cells); besides `group` (photos that show
        the same field share it), `width`, `height` (pixels), `brightness` (mean grey value, 0 to
        255), `sha256`, the white cell's box `xmin, ymin, xmax, ymax` in the image's pixels with
        `visible` (share of the box inside the frame), and `mask` (path of the true outline), each
        missing where not known.
    photos : pandas.DataFrame
        The originals, one row per row of labels.csv: `photo`, `path`, `category` (as written),
        `label` (missing where doubtful), `doubt` (why a row is unusable, "" where it is not),
        `white_cells` (VOC boxes called WBC). Empty for a folder.
    left_out : pandas.DataFrame
        Files that could not be read: `path`, `reason`.
    facts : dict
        What identifies the data: name, bytes, fingerprint.
    notes : list of str
        Lines that a reader should know: files passed over, folders taken together.
    """

    images: pd.DataFrame
    photos: pd.DataFrame
    left_out: pd.DataFrame
    facts: dict
    notes: list[str] = field(default_factory=list)


def load(
    source: str,
    *,
    run: Run,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    **settings: Any,
) -> DataSet:
    """Read a source into one image table, its validation part held out by source photo.

    Parameters
    ----------
    source : str
        `demo` (drawn, needs nothing), `kaggle` (an archive or a download), `pbc` or `chula` (an
        archive) or `folder` (one sub-folder per class); or several, joined by commas: `kaggle,pbc`.
    run : Run
        The run that takes the data.
    val_fraction, test_fraction : float
        Shares held out where the source brings no validation or no test part of its own. Several
        sources are each held out by themselves, so that every part has images of each.
    **settings
        Further fields of `protocol.Settings`; `archive` has one for each source that takes one,
        in their order, joined by commas as they are.

    Returns
    -------
    DataSet

    Raises
    ------
    HematoVisionError
        For an unknown source, or one that does not hold what it should.
    """
    names, given = source.split(","), Settings(run=run, **settings)
    if not set(names) <= set(SOURCES) or len(set(names)) < len(names):
        raise HematoVisionError(
            f"expected source to be one of {', '.join(SOURCES)}, or several of them once each, "
            f"such as kaggle,pbc, but it is {source!r}: check the profile, or the value behind "
            "-p source"
        )
    _refuse_unread(names, given)
    archives = _archive_of_each(names, given.archive)
    fractions = {"test": test_fraction, "val": val_fraction}
    parts = {
        name: _load_one(name, replace(given, archive=archives.get(name, "")), fractions)
        for name in names
    }
    return _join(parts) if len(parts) > 1 else parts[source]


def _load_one(source: str, settings: Settings, fractions: Mapping[str, float]) -> DataSet:
    module = SOURCES[source]
    place = module.find(settings)
    contents = module.read(place)
    images, left_out = inspect_images(contents.files)
    left_out = pd.concat([left_out, pd.DataFrame(contents.left_out, columns=["path", "reason"])])
    images = images.assign(source=source, laboratory=source)  # so far, each is of one laboratory
    images, notes = module.attach(images, place, settings)
    images = _split(images, fractions, seed=settings.seed)
    notes = [*contents.notes, *notes, *_doubts(images)]
    facts = {"source": source, **place.facts, "images_sha256": _content_fingerprint(images, place)}
    return DataSet(images, contents.photos, left_out.reset_index(drop=True), facts, notes)


def _join(parts: Mapping[str, DataSet]) -> DataSet:
    """Put the tables of several sources under one another.

    Where a source does not say which image shows which cell, each counts as one by itself.
    """
    tables = []
    for part in parts.values():
        table = part.images
        for name, known in (("cell", "sha256"), ("group", "cell")):
            if table[name].isna().all():
                table = table.assign(**{name: table[known].astype("string")})
        tables.append(table)
    brought = pd.concat(tables, ignore_index=True)
    for name in ("cell", "group"):
        owners = brought.groupby(name)["source"].unique()
        if (shared := owners[owners.map(len) > 1]).size:
            raise HematoVisionError(
                f"expected each source to have cells and groups of its own, but both "
                f"{' and '.join(shared.iloc[0])} call one {shared.index[0]}: give one of them "
                "other names, or leave it out"
            )
    images = set_aside_shared(brought)
    for part in ("train", "val"):
        _refuse_spent(brought, images, part)
    check_no_leak(images)
    facts = {"source": ",".join(parts)}
    for name, part in parts.items():
        facts |= {f"{name} {key}": fact for key, fact in part.facts.items() if key != "source"}
    contents = "".join(part.facts["images_sha256"] for part in parts.values())
    facts["images_sha256"] = hashlib.sha256(contents.encode()).hexdigest()
    photos = [part.photos for part in parts.values() if len(part.photos)]
    return DataSet(
        images,
        pd.concat(photos, ignore_index=True) if photos else pd.DataFrame(columns=PHOTO_COLUMNS),
        pd.concat([part.left_out for part in parts.values()], ignore_index=True),
        facts,
        [f"{name}: {note}" for name, part in parts.items() for note in part.notes],
    )


def _refuse_unread(sources: Sequence[str], settings: Settings) -> None:
    """Refuse a path that another source would read: it would be left aside without a word."""
    read = {name for source in sources for name in SOURCES[source].TAKES}
    for other, module in SOURCES.items():
        for name in module.TAKES:
            if getattr(settings, name) and name not in read:
                raise HematoVisionError(
                    f"expected the source {other} with {name} {getattr(settings, name)}, but the "
                    f"source is {','.join(sources)}, which does not read it: add -p source "
                    f"{other}, or leave {name} out"
                )


def _archive_of_each(sources: Sequence[str], archive: str) -> dict[str, str]:
    """Return the archive of each source that takes one."""
    takers = [name for name in sources if "archive" in SOURCES[name].TAKES]
    if len(takers) < 2:
        return dict.fromkeys(takers, archive)
    archives = archive.split(",")
    if len(archives) != len(takers):
        raise HematoVisionError(
            f"expected an archive for each of {' and '.join(takers)}, in this order, but "
            f"{archive or 'none'} was given: repeat --archive, or join the paths by commas"
        )
    return dict(zip(takers, archives, strict=True))


def _split(images: pd.DataFrame, fractions: Mapping[str, float], *, seed: int) -> pd.DataFrame:
    """Hold out the parts that a source does not bring, and make sure that every class is in each.

    Parameters
    ----------
    images : pandas.DataFrame
        With the splits that the source brings.
    fractions : mapping of str to float
        `test` and `val`, and their shares.
    seed : int
        Draws them.
    """
    missing = [part for part in fractions if part not in set(images["split"])]
    brought, images = images, set_aside_shared(images)
    for part in ("train", *(part for part in fractions if part not in missing)):
        _refuse_spent(brought, images, part)
    _refuse_too_few(images, [*missing, "train"])
    for part in missing:
        images = hold_out(images, fraction=fractions[part], seed=seed, to=part)
    check_no_leak(images)
    return images


def _refuse_spent(brought: pd.DataFrame, images: pd.DataFrame, part: str) -> None:
    """Refuse a part of which nothing of a class is left, once what another part holds is aside."""
    there = set(images.loc[images["split"] == part, "label"])
    lost = sorted(set(images["label"]) - there)
    if not lost:
        return
    one = brought[(brought["split"] == part) & (brought["label"] == lost[0])].iloc[0]
    alike = (brought["sha256"] == one["sha256"]) | (brought["group"] == one["group"]).fillna(False)
    later = brought["split"].isin(SPLITS[SPLITS.index(part) + 1 :])
    other = brought.loc[alike & later, "path"].iloc[0]
    raise HematoVisionError(
        f"expected images of every class for {part}, but of {', '.join(lost)} nothing is left: "
        f"another part holds the same files or groups, such as {one['path']} and {other}; keep "
        "each on one side"
    )


def _refuse_too_few(images: pd.DataFrame, parts: Sequence[str]) -> None:
    training = images[images["split"] == "train"]
    groups = source_groups(training)
    counts = groups.groupby(training["label"]).nunique()
    if len(counts) and counts.min() < len(parts):
        noun = "groups" if images["group"].notna().any() else "different images"
        raise HematoVisionError(
            f"expected at least {len(parts)} {noun} of every class, one each for "
            f"{' and '.join(parts)}, but {counts.idxmin()} has {counts.min()}: add images, or "
            "leave the class out"
        )


def _doubts(images: pd.DataFrame) -> list[str]:
    """Say what the table shows of images set aside, and of files that have two labels."""
    notes = []
    aside = int((images["split"] == UNPLACED).sum())
    if aside:
        notes.append(f"on no side of the split, since another may show the same: {aside:,} images")
    labels = images.groupby("sha256")["label"].nunique()
    if (labels > 1).any():
        paths = images.loc[images["sha256"] == labels.idxmax(), "path"]
        notes.append(
            f"files that lie in folders of two classes: {(labels > 1).sum():,}, such as "
            f"{' and '.join(paths.head(2))}"
        )
    return notes


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
    _refuse_lost_classes(files, images, left_out)
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


def _refuse_lost_classes(files: pd.DataFrame, images: pd.DataFrame, left_out: pd.DataFrame) -> None:
    """Refuse a source of which a class, or its part of a split, cannot be read at all."""
    columns = ["label", "split"]
    read = set(images[columns].itertuples(index=False, name=None))
    for (label, split), part in files.groupby(columns):
        if (label, split) not in read:
            reason = left_out.loc[left_out["path"].isin(part["path"]), "reason"].iloc[0]
            raise HematoVisionError(
                f"expected readable images of every class, but none of the {len(part):,} files of "
                f"{label} ({split}) can be read; the first: {reason}"
            )


def _content_fingerprint(images: pd.DataFrame, place: Place) -> str:
    """Return one SHA-256 over names and contents of all images, in the order of their names."""
    digest, root = hashlib.sha256(), place.root.absolute()
    for path, content in sorted(zip(images["path"], images["sha256"], strict=True)):
        digest.update(os.fsencode(f"{Path(path).relative_to(root).as_posix()} {content}\n"))
    return digest.hexdigest()
