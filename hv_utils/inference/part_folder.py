"""`hv predict --out`: a folder of parts, made side by side, each whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hv_utils import __version__
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.extras import load
from hv_utils.ground.files import atomic_path, cores, dump_json, renewed_json, sweep, write_text
from hv_utils.ground.workers import done, workers
from hv_utils.images.addresses import is_address
from hv_utils.images.catalogue import Catalogue, catalogue_of
from hv_utils.inference.onnx_model import arrays_path, facts_path
from hv_utils.inference.parts import Part, Recipe, Task, facts_of, first_rows, judge_part, part_key
from hv_utils.inference.predict import columns, default_model, open_classifier
from hv_utils.inference.preparation import STANDARD, VIEW, preparation_of
from hv_utils.inference.reports import SHOWN, Report, progress

PART_IMAGES = 500
# Readers of Parquet folders pass over names that begin with an underscore.
MADE_FROM, SUMMARY = "_made_from.json", "_summary.json"
COMPLAINTS = 20


def label_into_parts(
    paths: Iterable[str | Path],
    *,
    out: str | Path,
    model: str | Path | None = None,
    um_per_pixel: float | None = None,
    why: bool = False,
    coverage: float | None = None,
    batch_size: int = 4,
    part_size: int = PART_IMAGES,
    scheduler: str | None = None,
    processes: int | None = None,
    complain: Callable[[str], None] = print,
) -> Report:
    """Label all images that a user names into the Parquet files of a folder.

    Parts that an earlier call with the same images, model and options has finished are kept.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, folders, patterns and addresses, see `catalogue.Catalogue.add`.
    out : str or Path
        The folder. `part-000000.parquet` and so on have the columns of the CSV, `_made_from.json`
        what they follow from; `_summary.json` has the counts of all, once all are there.
    model, um_per_pixel, why, coverage, batch_size
        See `labelling.label_images`.
    part_size : int
        Images of a part.
    scheduler : str, optional
        Of Dask; its workers need this package, and must see the images.
    processes : int, optional
        Without a scheduler; by default one a core.
    complain : callable
        Takes a line on each of the first images that cannot be read, and so on.

    Returns
    -------
    Report
        Of all parts, those that were there, too; takes no more memory for many images than for few.

    Raises
    ------
    HematoVisionError
        Where nothing is to be labelled, the folder was begun with others, cannot be written or is
        in use, or the workers are lost.
    """
    load("pyarrow", extra="scale", wanted_for="--out")
    path = default_model() if model is None else Path(model)
    _, meta = open_classifier(path, why=why, coverage=coverage)
    preparation_of(meta, um_per_pixel=um_per_pixel)
    options = {"um_per_pixel": um_per_pixel, "why": why, "coverage": coverage}
    options |= {"batch_size": batch_size}
    names = columns(meta["classes"], cells=meta.get(VIEW) == STANDARD, sets=meta["sets"], why=why)
    recipe = Recipe(str(path.absolute()), tuple(names), **options)
    facts = json.dumps({**meta, "workers": 0}, sort_keys=True)
    about = {"hematovision": __version__, **options, "part_size": part_size}
    about["model"] = hashlib.sha256(facts.encode()).hexdigest()

    report = Report(meta["classes"], sets=coverage is not None)
    with _held(out) as folder:
        _check_same(folder, about)
        with _listed(paths, folder) as images:
            if images.others:
                complain(images.left_out())
            _take_finished(folder, images, about, report, complain)
            missing = len(images) - report.images
            if missing:
                (folder / SUMMARY).unlink(missing_ok=True)
                asked = {"scheduler": scheduler, "processes": processes or cores()}
                made = _made(folder, images, about, recipe, **asked)
                with progress(made, total=missing, images=_images) as parts:
                    _take_new(parts, report, complain)
        report.rows = first_rows(part_path(folder, 0), SHOWN)
        write_text(folder / SUMMARY, dump_json({**about, **report.tallies()}))
    return report


def part_path(folder: Path, number: int) -> Path:
    """Return where a part lies, numbered from 0."""
    return folder / f"part-{number:06d}.parquet"


def _images(part: Part) -> int:
    return part.tallies["images"]


@contextmanager
def _held(out: str | Path) -> Iterator[Path]:
    """Hold the folder of the parts for this process."""
    from filelock import FileLock, Timeout

    if is_address(str(out)):
        raise HematoVisionError(
            f"expected a folder of this machine behind --out, but got {out}: write the parts here "
            "and copy them there"
        )
    folder = Path(out).expanduser().absolute()
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise HematoVisionError(
            f"expected {folder} to be written by one command at a time, but another one is at it: "
            "wait until that one has ended, or name another folder"
        ) from error
    except OSError as error:
        raise HematoVisionError(
            f"expected a folder that can be written, but {folder} cannot be "
            f"({error.strerror or error}): choose another, make room or mend the permissions"
        ) from error
    try:
        sweep(folder)
        yield folder
    finally:
        lock.release()


def _check_same(folder: Path, about: Mapping[str, Any]) -> None:
    """Refuse to mix parts of different models or options; begin the folder where it is new."""
    path = folder / MADE_FROM
    if not path.exists():
        if any(folder.glob("part-*.parquet")):
            raise HematoVisionError(
                f"expected a new folder, but {folder} has parts and no {MADE_FROM} that tells what "
                "they were made from: name another folder"
            )
        write_text(path, dump_json(about))
        return
    before = renewed_json(path)
    other = [name for name in about if before.get(name) != about[name]]
    if other:
        was, now = (
            ", ".join(f"{n} {facts.get(n)}"[:40] for n in other) for facts in (before, about)
        )
        raise HematoVisionError(
            f"expected what {folder} was begun with ({was}), but got {now}: "
            "give the same, or name another folder"
        )


@contextmanager
def _listed(paths: Iterable[str | Path], folder: Path) -> Iterator[Catalogue]:
    """List the images in a file beside the parts, for as long as it is needed."""
    path = folder / f".images.{os.getpid()}.part"
    try:
        images = catalogue_of(paths, path)
        try:
            yield images
        finally:
            images.close()
    except sqlite3.Error as error:
        raise HematoVisionError(
            f"expected room for the list of the images in {folder}, but it cannot be written "
            f"({error}): make room; what was finished is kept, and the same command goes on"
        ) from error
    finally:
        path.unlink(missing_ok=True)


def _tasks(images: Catalogue, about: Mapping[str, Any]) -> Iterator[Task]:
    rest = json.dumps(about, sort_keys=True)
    for number, part in enumerate(images.parts(about["part_size"])):
        yield Task(number, part, part_key(part, rest))


def _take_finished(
    folder: Path,
    images: Catalogue,
    about: Mapping[str, Any],
    report: Report,
    complain: Callable[[str], None],
) -> None:
    """Count the parts that are there, and refuse those of other images."""
    there = {path.name for path in folder.glob("part-*.parquet")}
    found = len(there)
    for task in _tasks(images, about):
        path = part_path(folder, task.number)
        if path.name in there:
            there.remove(path.name)
            facts = facts_of(path)
            if facts["key"] != task.key:
                raise _other_images(path)
            report.take(facts)
    if there:
        raise _other_images(folder / min(there))
    if found:
        complain(f"going on: {report.images:,} of {len(images):,} images of {folder} were there")


def _other_images(path: Path) -> HematoVisionError:
    return HematoVisionError(
        f"expected the images that {path.parent} was begun with, but {path.name} was made from "
        "others (a file was added, changed or taken away, or others are named): give the same, "
        "or name another folder"
    )


def _made(
    folder: Path,
    images: Catalogue,
    about: Mapping[str, Any],
    recipe: Recipe,
    *,
    scheduler: str | None,
    processes: int,
) -> Iterator[Part]:
    """Make the parts that are missing, and write each as it comes."""
    tasks = (t for t in _tasks(images, about) if not part_path(folder, t.number).exists())
    with _for_workers(recipe, about, at_worker=bool(scheduler)) as (recipe, files):
        with workers(scheduler, count=processes, files=files) as hands:
            for (_, task), part in done(hands, judge_part, ((recipe, task) for task in tasks)):
                with atomic_path(part_path(folder, task.number)) as temporary:
                    with temporary.open("wb") as file:
                        file.write(part.parquet)
                        os.fsync(file.fileno())
                yield part


@contextmanager
def _for_workers(
    recipe: Recipe, about: Mapping[str, Any], *, at_worker: bool
) -> Iterator[tuple[Recipe, list[Path]]]:
    """Name the model's files by their content, so that a worker can keep those of several."""
    if not at_worker:
        yield recipe, []
        return
    name = f"hematovision-{about['model'][:12]}.onnx"
    with TemporaryDirectory() as sent:
        files = []
        for companion in (Path, facts_path, arrays_path):
            files.append(companion(Path(sent) / name))
            shutil.copyfile(companion(recipe.model), files[-1])
        yield replace(recipe, model=name, at_worker=True, folder=os.getcwd()), files


def _take_new(parts: Iterable[Part], report: Report, complain: Callable[[str], None]) -> None:
    """Count new parts, and pass on the first of their lines."""
    told = more = 0
    for part in parts:
        report.take(part.tallies)
        for reason in part.reasons[: COMPLAINTS - told]:
            complain(reason)
        new = min(len(part.reasons), COMPLAINTS - told)
        told += new
        more += len(part.reasons) - new + part.more
    if more:
        complain(f"{more:,} more lines of this kind: the column status says of which images")
