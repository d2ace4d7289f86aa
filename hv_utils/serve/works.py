"""What the service can do with pictures: one work a route."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hv_utils.inference.counting import COLUMNS, cell_rows, count_preparation
from hv_utils.inference.familiarity import Strangers, alarm
from hv_utils.inference.predict import (
    Classifier,
    columns,
    default_model,
    judge_shown,
    open_classifier,
)
from hv_utils.inference.preparation import (
    RESIZED,
    STANDARD,
    VIEW,
    Picture,
    Preparation,
    Shown,
    preparation_of,
)
from hv_utils.serve.batching import Judge

REASON = "reason"  # behind the columns of the table: what `hv predict` says on the error stream


@dataclass(frozen=True)
class Model:
    """The one model that is served, and how.

    Attributes
    ----------
    classify : callable
    facts : dict
        See `predict.open_classifier`.
    name : str
        Of its file, without the folder.
    um_per_pixel : float or None
        See `preparation.preparation_of`.
    batch_size : int
        Images of one call.
    """

    classify: Classifier
    facts: dict[str, Any]
    name: str
    um_per_pixel: float | None = None
    batch_size: int = 4

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        *,
        um_per_pixel: float | None = None,
        why: bool = False,
        coverage: float | None = None,
        batch_size: int = 4,
    ) -> Model:
        """Load a model as `hv predict` does, see `predict.open_classifier`."""
        path = default_model() if path is None else Path(path)
        classify, facts = open_classifier(path, why=why, coverage=coverage)
        preparation_of(facts, um_per_pixel=um_per_pixel)  # what is refused is refused at once
        return cls(classify, facts, path.name, um_per_pixel, batch_size)


@dataclass(frozen=True)
class Work:
    """What a route makes of pictures.

    Attributes
    ----------
    columns : list of str
        Of its table.
    prepare, judge : callable
        See `batching.Batcher`.
    about : callable
        Takes all rows of a request and returns what the answer says beside them.
    """

    columns: list[str]
    prepare: Preparation
    judge: Judge
    about: Callable[[Sequence[dict]], dict[str, Any]] = lambda _: {}

    def answer(self, rows: Sequence[dict]) -> dict[str, Any]:
        """Return what is sent: the columns of the table and the reason of each row, NaN as None."""
        names = [*self.columns, REASON]
        table = [{name: _plain(row.get(name)) for name in names} for row in rows]
        return {"rows": table, **self.about(rows)}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def predict(model: Model) -> Work:
    """Return the work of `hv predict`: its table, and its alarm over strange cells."""
    facts = model.facts
    more = {"cells": facts.get(VIEW) == STANDARD, "sets": facts["sets"], "why": facts["why"]}
    judge = partial(judge_shown, classify=model.classify, batch_size=model.batch_size)
    return Work(
        columns(facts["classes"], **more),
        preparation_of(facts, um_per_pixel=model.um_per_pixel),
        partial(judge, classes=facts["classes"]),
        lambda rows: {"alarm": alarm(_strangers(rows))},
    )


def _strangers(rows: Sequence[dict]) -> Strangers:
    return Strangers.among(row["familiarity"] for row in rows if "familiarity" in row)


SEEN = ("familiarity", "view", "heat_map")  # columns behind those of `predict`


def look(model: Model) -> Work:
    """Return the work of the page: what `predict` tells, and what the model was shown of each cell.

    A view is RGB, byte by byte, as base64; beside the rows stands what the page must know of the
    model.
    """
    told, facts = predict(model), model.facts
    seeing = partial(model.classify, cam=True)
    judge = partial(judge_shown, classify=seeing, batch_size=model.batch_size)
    about = {
        "classes": list(facts["classes"]),
        "size": list(facts["size"]),
        "view": facts.get(VIEW, RESIZED),
        "sets": facts["sets"],
        "looks": facts["why"],
        "coverage": facts["coverage"],
        "unsureBelow": facts.get("thresholds", {}).get("unsure_below", 0.0),
    }

    def shown(pairs: Sequence[tuple[Picture, Shown]]) -> list[dict]:
        rows = judge(pairs, classes=facts["classes"])
        return [
            row if one.image is None else row | _seen(one.image, row["heat_map"])
            for row, (_, one) in zip(rows, pairs, strict=True)
        ]

    return Work([*told.columns, *SEEN], told.prepare, shown, lambda _: {"model": about})


def _seen(view: np.ndarray, heat_map: np.ndarray) -> dict[str, Any]:
    return {"view": base64.b64encode(view.tobytes()).decode(), "heat_map": heat_map.tolist()}


def count(model: Model) -> Work:
    """Return the work of `hv count`: a row a cell; what speaks against a field is a reason."""
    judge = partial(cell_rows, classify=model.classify, batch_size=model.batch_size)
    return Work(
        COLUMNS,
        count_preparation(model.facts, um_per_pixel=model.um_per_pixel),
        partial(judge, classes=model.facts["classes"]),
    )


# The routes, `POST /<name>` each. A further one is one entry: a function that takes the `Model` and
# returns its `Work`. Queue, limits, logs and OpenAPI follow by themselves.
WORKS: dict[str, Callable[[Model], Work]] = {"predict": predict, "count": count, "look": look}


def works_of(model: Model) -> dict[str, Callable[[Model], Work]]:
    """Return the routes that a model can serve: one of whole pictures cannot count."""
    able = model.facts.get(VIEW) == STANDARD
    return {name: work for name, work in WORKS.items() if able or name != "count"}
