"""Prediction on new images: files in, labelled rows out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores
from hv_utils.ground.predictions import prob_columns
from hv_utils.ground.runs import PROJECT_ROOT
from hv_utils.images.reading import ImageError, read_resized
from hv_utils.inference.onnx_model import (
    NOT_A_CELL,
    OK,
    SHIPPED_MODEL,
    UNREADABLE,
    OnnxClassifier,
    Verdicts,
)

if TYPE_CHECKING:
    import pandas as pd

Classifier = Callable[[np.ndarray], np.ndarray | Verdicts]
DEMO_MODEL = PROJECT_ROOT / "runs" / "demo" / "model.onnx"


def columns(classes: Sequence[str]) -> list[str]:
    """Return the columns of the prediction table."""
    return ["path", "predicted", "confidence", "status", *prob_columns(classes)]


def predict_rows(
    paths: Iterable[Path],
    classify: Classifier,
    *,
    classes: Sequence[str],
    size: tuple[int, int],
    batch_size: int = 32,
    workers: int = 1,
) -> Iterator[dict]:
    """Label images a few at a time, so that memory does not grow with their number.

    Parameters
    ----------
    paths : iterable of Path
        Image files.
    classify : callable
        Takes images of shape (N, height, width, 3), uint8, 0 to 255, and returns `pred_probs` of
        shape (N, K), columns in the order of `classes`, rows summing to 1; or `Verdicts`.
    classes : sequence of str
        The K classes.
    size : tuple of int
        (height, width) the classifier wants.
    batch_size : int
        Images of one call of `classify`.
    workers : int
        Batches that are decoded and judged at once, each in a thread of its own. Above 1 only for
        a `classify` that may be called from several threads, such as `OnnxClassifier`.

    Yields
    ------
    dict
        One row of the prediction table (see `columns`), in the order of `paths`, with a `reason`
        and, where the verdicts have one, a `heat_map`. `status` is

        - `ok`;
        - `unsure`: the probability is too low, `predicted` is the likeliest class;
        - `not_a_cell`: not like a single white cell, `predicted` is empty;
        - `unreadable`: no figures, and a `reason`. No prediction is made up.
    """

    def judge(names: list[Path]) -> list[dict]:
        return _judge(names, classify, classes, size)

    waiting = iter(paths)
    parts = iter(lambda: list(islice(waiting, batch_size)), [])
    if workers <= 1:
        for part in parts:
            yield from judge(part)
        return
    with ThreadPoolExecutor(workers) as pool:
        # One batch more than there are workers, so that none waits for the reader of the rows.
        running = deque(pool.submit(judge, part) for part in islice(parts, workers + 1))
        while running:
            rows = running.popleft().result()
            running.extend(pool.submit(judge, part) for part in islice(parts, 1))
            yield from rows


def _judge(
    names: list[Path], classify: Classifier, classes: Sequence[str], size: tuple[int, int]
) -> list[dict]:
    images, reasons = [], []
    for path in names:
        try:
            images.append(read_resized(path, size))
            reasons.append("")
        except ImageError as error:
            reasons.append(str(error))
    verdicts = classify(np.stack(images)) if images else np.zeros((0, len(classes)))
    if not isinstance(verdicts, Verdicts):
        verdicts = Verdicts(verdicts, [OK] * len(images))
    rows, position = [], 0
    for path, reason in zip(names, reasons, strict=True):
        if reason:
            rows.append(_unreadable(path, reason, classes))
        else:
            rows.append(_labelled(path, verdicts, position, classes))
            position += 1
    return rows


def _labelled(path: Path, verdicts: Verdicts, position: int, classes: Sequence[str]) -> dict:
    probabilities, status = verdicts.pred_probs[position], verdicts.statuses[position]
    best = int(np.argmax(probabilities))
    row = {
        "path": str(path),
        "predicted": "" if status == NOT_A_CELL else classes[best],
        "confidence": float(probabilities[best]),
        "status": status,
        **dict(zip(prob_columns(classes), map(float, probabilities), strict=True)),
        "reason": "",
    }
    if verdicts.heat_maps is not None:
        row["heat_map"] = verdicts.heat_maps[position]
    return row


def _unreadable(path: Path, reason: str, classes: Sequence[str]) -> dict:
    figures = dict.fromkeys(("confidence", *prob_columns(classes)), math.nan)
    return {
        "path": str(path),
        "predicted": "",
        "status": UNREADABLE,
        **figures,
        "reason": reason,
    }


def prediction_table(rows: Iterable[Mapping], classes: Sequence[str]) -> pd.DataFrame:
    """Collect rows into the prediction table (see `columns`)."""
    import pandas as pd

    return pd.DataFrame(rows, columns=columns(classes))


def default_model() -> Path:
    """Return the shipped model, or else the one of the demo's run.

    Raises
    ------
    HematoVisionError
        Where there is neither.
    """
    for path in (SHIPPED_MODEL, DEMO_MODEL):
        if path.is_file():
            return path
    raise HematoVisionError(
        f"expected a trained model at {DEMO_MODEL}, but there is none: "
        "train one with `hv run`, or name one with --model"
    )


def open_classifier(
    model_path: str | Path | None = None, *, cam: bool = False
) -> tuple[Classifier, dict]:
    """Return a classifier and what is recorded with its model.

    Parameters
    ----------
    model_path : str or Path, optional
        An exported `.onnx`, which runs without TensorFlow; by default `default_model()`.
    cam : bool
        Whether verdicts come with Grad-CAM heat maps.

    Returns
    -------
    classify : callable
        See `predict_rows`.
    meta : dict
        `classes`, `size` and what else was saved with the model; `workers`, how many threads may
        call `classify` at once.

    Raises
    ------
    HematoVisionError
        Where the file is no exported model.
    """
    path = default_model() if model_path is None else Path(model_path)
    if path.suffix != ".onnx":
        raise HematoVisionError(
            f"expected an exported model, a file ending in .onnx, but --model is {path}: "
            "a run exports its model beside model.keras, as model.onnx, in step 06_prediction"
        )
    model = OnnxClassifier.load(path)
    facts = {**model.meta, "classes": model.classes, "size": model.size, "workers": cores()}
    return (lambda images: model(images, cam=cam)), facts
