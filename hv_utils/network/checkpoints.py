"""What an interrupted training leaves behind, so that it goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hv_utils.ground.files import atomic_path, dump_json
from hv_utils.network.settings import FineTuning, HeadTraining

if TYPE_CHECKING:
    import keras


def fingerprint_settings(settings: dict[str, Any], images: Iterable[str]) -> str:
    """Return a digest of what a training depends on: its settings and its images, in order."""
    text = dump_json(settings) + "\n".join(images)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def checkpoint_file(
    folder: str | Path | None,
    settings: HeadTraining | FineTuning,
    model: keras.Model,
    images: pd.DataFrame,
    classes: Sequence[str],
) -> Path | None:
    """Return the file of a training's state: its name tells settings, images and start apart.

    Parameters
    ----------
    folder : str, Path or None
        None keeps no state.
    settings : HeadTraining or FineTuning
    model : keras.Model
        As the training finds it. Through its variables those count that it started from.
    images : pandas.DataFrame
        Columns `path` and `label`, those of training and then those of validation.
    classes : sequence of str
    """
    if folder is None:
        return None
    variables = hashlib.sha256()
    for variable in model.variables:  # the seeds of dropout among them
        variables.update(np.ascontiguousarray(variable.numpy()))
    facts = {
        "classes": list(classes),
        "input": model.input_shape,
        "dropout": [layer.rate for layer in model.layers if hasattr(layer, "rate")],
        "variables": variables.hexdigest(),
    }
    rows = (f"{label} {path}" for path, label in zip(images["path"], images["label"], strict=True))
    digest = fingerprint_settings({**asdict(settings), **facts}, rows)
    return Path(folder) / f"{settings.phase}-{digest}.npz"


def save_state(
    file: Path | None,
    variables: Sequence[keras.Variable],
    rows: Sequence[dict],
    best: Sequence[np.ndarray] = (),
) -> None:
    """Keep variables, history and best weights so far in one file; nothing where it is None."""
    if file is None:
        return
    arrays = {f"variable{number}": each.numpy() for number, each in enumerate(variables)}
    arrays |= {f"best{number}": each for number, each in enumerate(best)}
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, rows=dump_json(rows), **arrays)


def load_state(
    file: Path | None, variables: Sequence[keras.Variable]
) -> tuple[list[dict], list[np.ndarray]] | None:
    """Give variables the values of a state.

    Returns
    -------
    tuple of list or None
        Its history and its best weights; None where there is no state, or one that was damaged,
        which leaves the variables alone.
    """
    if file is None or not file.exists():
        return None
    try:
        with np.load(file) as arrays:
            values = [arrays[f"variable{number}"] for number in range(len(variables))]
            rows = json.loads(str(arrays["rows"]))
            count = sum(name.startswith("best") for name in arrays.files)
            best = [arrays[f"best{number}"] for number in range(count)]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        print(f"{file} is damaged: the training begins anew", flush=True)
        return None
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return rows, best


def clear(folder: str | Path) -> None:
    """Remove the states; called when the finished model has been saved."""
    shutil.rmtree(folder, ignore_errors=True)
