"""A part of a large prediction table: some images judged, a Parquet file in bytes, read again."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.extras import load
from hv_utils.ground.workers import sent
from hv_utils.images.addresses import copy_here, is_address, suffix_of
from hv_utils.images.catalogue import Listed
from hv_utils.inference.predict import Classifier, open_classifier, predict_rows
from hv_utils.inference.preparation import PLACE, Preparation, preparation_of
from hv_utils.inference.reports import Report
from hv_utils.inference.table_file import TEXTS, UNTEXT

ABOUT = b"hematovision"  # the key of our facts in a part's Parquet metadata
COPIES_AT_ONCE = 8
REASONS = 20  # of one part; a million cut cells would fill a screen for days


@dataclass(frozen=True)
class Recipe:
    """How every part is made.

    Attributes
    ----------
    model : str
        Path of the exported model; where it was sent to the worker, its name there.
    columns : tuple of str
        See `predict.columns`.
    at_worker : bool
        Whether parts are made by the workers of a scheduler.
    folder : str
        What relative paths are relative to.
    um_per_pixel, why, coverage, batch_size
        See `labelling.label_images`.
    """

    model: str
    columns: tuple[str, ...]
    at_worker: bool = False
    folder: str = ""
    um_per_pixel: float | None = None
    why: bool = False
    coverage: float | None = None
    batch_size: int = 4


@dataclass(frozen=True)
class Task:
    """A part to be made.

    Attributes
    ----------
    number : int
        From 0 on.
    images : list of Listed
    key : str
        See `part_key`; kept in the file.
    """

    number: int
    images: list[Listed]
    key: str


@dataclass(frozen=True)
class Part:
    """A part that has been judged.

    Attributes
    ----------
    parquet : bytes
        The file.
    tallies : mapping
        Its counts, see `reports.Report.tallies`.
    reasons : sequence of str
        Lines on images that cannot be read and on cells that are cut off or not there, the first.
    more : int
        Lines that are left out.
    """

    parquet: bytes
    tallies: Mapping[str, Any]
    reasons: Sequence[str]
    more: int


def part_key(images: Sequence[Listed], about: str) -> str:
    """Return a digest of what a part follows from: its images and `about`, all the rest."""
    digest = hashlib.sha256(about.encode())
    for image in images:
        digest.update(os.fsencode(image.path) + f"\0{image.bytes} {image.stamp}\0".encode())
    return digest.hexdigest()


def judge_part(recipe: Recipe, task: Task) -> Part:
    """Judge the images of a part on one core.

    Parameters
    ----------
    recipe : Recipe
    task : Task

    Raises
    ------
    HematoVisionError
        Where a store of images refuses them, or a worker sees none of them.
    """
    classify, meta, prepare = _opened(recipe)
    if recipe.at_worker:
        _check_shared(task.images, recipe.folder)
    report, rows, reasons = Report(meta["classes"], shown=0), [], []
    with TemporaryDirectory() as folder:
        places = _places(task.images, recipe.folder, copies=folder)
        judged = predict_rows(
            _copied(places),
            classify,
            classes=meta["classes"],
            size=tuple(meta["size"]),
            prepare=prepare,
            batch_size=recipe.batch_size,
        )
        for row in judged:
            place, path = row["path"], places[row["path"]]
            if is_address(path):
                Path(place).unlink(missing_ok=True)  # our own copy
            if place != path:
                row = {**row, "path": path, "reason": row["reason"].replace(place, path)}
            report.add(row)
            rows.append([row[name] for name in recipe.columns])
            if row["reason"]:
                reasons.append(row["reason"])
    tallies = report.tallies()
    data = _parquet(rows, recipe.columns, {"key": task.key, **tallies})
    return Part(data, tallies, reasons[:REASONS], len(reasons[REASONS:]))


@lru_cache(maxsize=1)
def _opened(recipe: Recipe) -> tuple[Classifier, dict, Preparation]:
    """Open the model once in each process, and keep its libraries to one thread."""
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    model = sent(recipe.model) if recipe.at_worker else Path(recipe.model)
    classify, meta = open_classifier(model, why=recipe.why, coverage=recipe.coverage)
    prepare = preparation_of(meta, um_per_pixel=recipe.um_per_pixel)
    threadpool_limits(1)  # the threads of several processes would only wait for each other
    return classify, meta, prepare


def _check_shared(images: Sequence[Listed], folder: str) -> None:
    """Refuse to call images unreadable that only this worker does not see."""
    there = [image.path for image in images if image.bytes is not None]
    on_disk = [os.path.join(folder, path) for path in there if not is_address(path)]
    if on_disk and not any(map(os.path.lexists, on_disk)):
        from distributed import get_worker

        raise HematoVisionError(
            f"expected the worker {get_worker().address} to see the images, but {on_disk[0]} is "
            "not there: share the folder with the workers, or name an address such as s3://"
        )


def _places(images: Sequence[Listed], folder: str, *, copies: str) -> dict[str, str]:
    """Return where each image is to be read, and what it is called in the table."""

    def place(number: int, path: str) -> str:
        if is_address(path):
            return os.path.join(copies, f"{number}{suffix_of(path)}")
        return os.path.join(folder, path)

    return {place(number, image.path): image.path for number, image in enumerate(images)}


def _copied(places: Mapping[str, str]) -> Iterator[Path]:
    """Yield where the images are, those of a store copied a little ahead."""

    def copy(place: str) -> Path:
        if is_address(places[place]):
            copy_here(places[place], Path(place))
        return Path(place)

    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        waiting = iter(places)
        running = [pool.submit(copy, place) for place in islice(waiting, 2 * COPIES_AT_ONCE)]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(copy, place) for place in islice(waiting, 1)]


def _parquet(rows: list[list], names: Sequence[str], about: Mapping[str, Any]) -> bytes:
    pa = load("pyarrow", extra="scale", wanted_for="--out")
    parquet = load("pyarrow.parquet", extra="scale", wanted_for="--out")
    kinds = {name: pa.string() for name in TEXTS} | {PLACE[0]: pa.int64()}
    fields = [(name, kinds.get(name, pa.float64())) for name in names]
    schema = pa.schema(fields, metadata={ABOUT: json.dumps(about)})
    columns = [list(map(_cell, column)) for column in zip(*rows, strict=True)]
    arrays = [pa.array(column, kind) for column, (_, kind) in zip(columns, fields, strict=True)]
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), file)
    return file.getvalue()


def _cell(value: Any) -> Any:
    """Return a value of the table: nothing where the CSV has an empty field."""
    if value == "" or value != value:  # NaN
        return None
    return value.encode(errors=UNTEXT).decode() if isinstance(value, str) else value


def facts_of(path: Path) -> dict[str, Any]:
    """Return the key and the counts that a part's file holds.

    Raises
    ------
    HematoVisionError
        Where it is no part of ours.
    """
    parquet = load("pyarrow.parquet", extra="scale", wanted_for="--out")
    try:
        return json.loads(parquet.read_metadata(path).metadata[ABOUT])
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's errors are ValueErrors
        raise HematoVisionError(
            f"expected {path} to be a part that hv predict wrote, but it cannot be read "
            f"({type(error).__name__}): remove it, and the same command makes it again"
        ) from error


def first_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the first rows of a part as `predict_rows` has them; no reason is known any more."""
    parquet = load("pyarrow.parquet", extra="scale", wanted_for="--out")
    batches = parquet.ParquetFile(path).iter_batches(batch_size=count)
    rows = next((batch.to_pylist() for batch in batches), [])
    return [
        {
            name: ("" if name in TEXTS else float("nan")) if value is None else value
            for name, value in row.items()
        }
        for row in rows
    ]
