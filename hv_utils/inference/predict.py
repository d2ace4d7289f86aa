"""Prediction on new images: files in, labelled rows out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores
from hv_utils.ground.predictions import prob_columns
from hv_utils.ground.runs import PROJECT_ROOT
from hv_utils.ground.threads import in_order
from hv_utils.inference.morphology import read_morphology
from hv_utils.inference.onnx_model import NOT_A_CELL, OK, SHIPPED_MODEL, OnnxClassifier, Verdicts
from hv_utils.inference.preparation import PLACE, Picture, Preparation, Shown, preparation_of
from hv_utils.inference.sets import COVERAGE, check_coverage, in_words

if TYPE_CHECKING:
    import pandas as pd

Classifier = Callable[[np.ndarray], np.ndarray | Verdicts]
TRAVELLING_MODEL = SHIPPED_MODEL.with_name("travelling.onnx")
DEMO_MODEL = PROJECT_ROOT / "runs" / "demo" / "model.onnx"


def columns(
    classes: Sequence[str], *, cells: bool = False, sets: bool = False, why: bool = False
) -> list[str]:
    """Return the columns of the prediction table.

    Parameters
    ----------
    classes : sequence of str
    cells : bool
        Whether pictures are searched for cells: adds where each is.
    sets : bool
        Whether the model tells which classes cannot be excluded: adds `set`.
    why : bool
        Whether verdicts come with words: adds `why`.
    """
    names = ["path", "predicted", "confidence", "status", *prob_columns(classes)]
    more = (PLACE if cells else (), ("set",) if sets else (), ("why",) if why else ())
    return [*names, *(name for part in more for name in part)]


def predict_rows(
    paths: Iterable[Picture],
    classify: Classifier,
    *,
    classes: Sequence[str],
    size: tuple[int, int],
    prepare: Preparation | None = None,
    batch_size: int = 32,
    workers: int = 1,
) -> Iterator[dict]:
    """Label images a few at a time, so that memory does not grow with their number.

    Parameters
    ----------
    paths : iterable of Path or SentImage
        Image files.
    classify : callable
        Takes images of shape (N, height, width, 3), uint8, 0 to 255, and returns `pred_probs` of
        shape (N, K), columns in the order of `classes`, rows summing to 1; or `Verdicts`. Where the
        preparation bars a cell from a class, it takes `barred`, too: bool, shape (N, K).
    classes : sequence of str
        The K classes.
    size : tuple of int
        (height, width) the classifier wants.
    prepare : callable, optional
        See `preparation.preparation_of`; by default the whole picture is resized.
    batch_size : int
        Images of one call of `classify`.
    workers : int
        Batches that are decoded and judged at once, each in a thread of its own. Above 1 only for
        a `classify` that may be called from several threads, such as `OnnxClassifier`.

    Yields
    ------
    dict
        One row of the prediction table (see `columns`), in the order of `paths`, with a `reason`
        and, where the verdicts have one, a `heat_map` and the `familiarity`; of each cell where the
        preparation finds cells, then with the `view` that was judged. `status` is

        - `ok`;
        - `unsure`: the probability is too low, `predicted` is the likeliest class;
        - `not_a_cell`: not like a single white cell, `predicted` is empty;
        - `unreadable`: no figures, and a `reason`. No prediction is made up.
    """
    prepare = prepare or preparation_of({"size": size})

    def judge(names: list[Picture]) -> list[dict]:
        shown = [(path, one) for path in names for one in prepare(path)]
        return judge_shown(shown, classify, classes=classes, batch_size=batch_size)

    waiting = iter(paths)
    parts = iter(lambda: list(islice(waiting, batch_size)), [])
    for rows in in_order(judge, parts, workers=workers):
        yield from rows


def judge_shown(
    shown: Sequence[tuple[Picture, Shown]],
    classify: Classifier,
    *,
    classes: Sequence[str],
    batch_size: int = 32,
) -> list[dict]:
    """Label what pictures show, a batch at a time.

    Parameters
    ----------
    shown : sequence of (Path or SentImage, Shown)
        Each with the picture that it comes from.
    classify, classes, batch_size
        See `predict_rows`.

    Returns
    -------
    list of dict
        A row each, see `predict_rows`.
    """
    parts = (shown[i : i + batch_size] for i in range(0, len(shown), batch_size))
    return [row for part in parts for row in _judge(part, classify, classes)]


def _judge(
    shown: Sequence[tuple[Picture, Shown]], classify: Classifier, classes: Sequence[str]
) -> list[dict]:
    judged = [one for _, one in shown if one.image is not None]
    barred = np.array([[name in one.barred for name in classes] for one in judged])
    options = {"barred": barred} if barred.any() else {}
    images = [one.image for one in judged]
    verdicts = classify(np.stack(images), **options) if images else np.zeros((0, len(classes)))
    if not isinstance(verdicts, Verdicts):
        verdicts = Verdicts(verdicts, [OK] * len(images))
    rows, position = [], 0
    for path, one in shown:
        row = {"path": str(path), "reason": one.reason, **(one.place or {})}
        if one.image is None:
            row |= {"predicted": "", "status": one.status, "confidence": math.nan}
            row |= {"set": "", "why": ""}
            row |= dict.fromkeys(prob_columns(classes), math.nan)
        else:
            row |= _labelled(verdicts, position, classes)
            position += 1
            if one.status and row["status"] == OK:
                row["status"] = one.status
            if one.place:
                row["view"] = one.image
        rows.append(row)
    return rows


def _labelled(verdicts: Verdicts, position: int, classes: Sequence[str]) -> dict:
    probabilities, status = verdicts.pred_probs[position], verdicts.statuses[position]
    best = int(np.argmax(probabilities))
    row = {
        "predicted": "" if status == NOT_A_CELL else classes[best],
        "confidence": float(probabilities[best]),
        "status": status,
        **dict(zip(prob_columns(classes), map(float, probabilities), strict=True)),
    }
    told = status != NOT_A_CELL
    if verdicts.members is not None:
        row["set"] = in_words(verdicts.members[position], classes) if told else ""
    if verdicts.whys is not None:
        row["why"] = verdicts.whys[position] if told else ""
    if verdicts.familiarity is not None:
        row["familiarity"] = float(verdicts.familiarity[position])
    if verdicts.heat_maps is not None:
        row["heat_map"] = verdicts.heat_maps[position]
    return row


def prediction_table(rows: Iterable[Mapping], classes: Sequence[str]) -> pd.DataFrame:
    """Collect rows into the prediction table (see `columns`)."""
    import pandas as pd

    return pd.DataFrame(rows, columns=columns(classes))


def default_model() -> Path:
    """Return the shipped model of cells, or else that of whole pictures, or that of the demo's run.

    Raises
    ------
    HematoVisionError
        Where there is neither.
    """
    for path in (TRAVELLING_MODEL, SHIPPED_MODEL, DEMO_MODEL):
        if path.is_file():
            return path
    raise HematoVisionError(
        f"expected a trained model at {DEMO_MODEL}, but there is none: "
        "train one with `hv run`, or name one with --model"
    )


def open_classifier(
    model_path: str | Path | None = None,
    *,
    cam: bool = False,
    why: bool = False,
    coverage: float | None = None,
) -> tuple[Classifier, dict]:
    """Return a classifier and what is recorded with its model.

    Parameters
    ----------
    model_path : str or Path, optional
        An exported `.onnx`, which runs without TensorFlow; by default `default_model()`.
    cam : bool
        Whether verdicts come with Grad-CAM heat maps.
    why : bool
        Whether verdicts come with words, see `morphology.Morphology`.
    coverage : float, optional
        Of the sets of classes that cannot be excluded; by default `sets.COVERAGE`, where the model
        has what they need.

    Returns
    -------
    classify : callable
        See `predict_rows`.
    meta : dict
        `classes`, `size` and what else was saved with the model; `workers`, how many threads may
        call `classify` at once; `sets` and `why`, whether verdicts have them; `coverage`.

    Raises
    ------
    HematoVisionError
        Where the file is no exported model, the coverage is none, or the model has no sets or no
        words that were asked for.
    """
    path = default_model() if model_path is None else Path(model_path)
    if path.suffix != ".onnx":
        raise HematoVisionError(
            f"expected an exported model, a file ending in .onnx, but --model is {path}: "
            "a run exports its model beside model.keras, as model.onnx, in step 03_model"
        )
    model = OnnxClassifier.load(path)
    if coverage is not None and model.sets is None:
        raise HematoVisionError(
            f"expected a model with calibrated sets for --coverage, but {path} has none: it was "
            "exported by an earlier version; export it again in step 03_model"
        )
    options: dict = {"cam": cam}
    options["coverage"] = COVERAGE if coverage is None else check_coverage(coverage)
    if why:
        features_of = model.meta.get("adapted_from", model.meta["sha256"]["onnx"])
        options["morphology"] = read_morphology(TRAVELLING_MODEL, features_sha256=features_of)
    facts = {**model.meta, "classes": model.classes, "size": model.size, "workers": cores()}
    facts |= {"sets": model.sets is not None, "why": why, "coverage": options["coverage"]}
    return partial(model, **options), facts
