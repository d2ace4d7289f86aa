"""Scores of the leak experiment, each with an interval over resampled cells.

The resampling is that of `hv_utils.scores.bootstrap`, here for one score at a time and for the
difference of two splits that judged the same images.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.ground.predictions import clusters, from_predictions
from hv_utils.scores.bootstrap import cluster_codes, percentiles, resample
from hv_utils.scores.intervals import confusion_by_cell, scores_from_confusion
from hv_utils.scores.metrics import per_cell
from hv_utils.scores.verdicts import CONFIRMED, REFUTED, UNDECIDED, gain_verdict

INFLATES = {
    CONFIRMED: "inflates the score",
    REFUTED: "lowers the score",
    UNDECIDED: "makes no difference we can tell",
}
THAN_CHANCE = {
    CONFIRMED: "better than chance",
    REFUTED: "worse than chance",
    UNDECIDED: "not told apart from chance",
}


def f1_resamples(
    predictions: pd.DataFrame, *, n_resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Score the verdicts under resamples of their cells, drawn with replacement.

    Two tables of the same images in the same order get the same resamples, so that their
    difference has an interval of its own.

    Parameters
    ----------
    predictions : DataFrame
        From `to_predictions` or `metrics.per_cell`.
    n_resamples, seed
        As in `bootstrap.resample`.

    Returns
    -------
    array, shape (R,), float 0…1
        Macro-F1 of each resample; classes that a resample lacks are left out of its mean.
    """
    counts = _confusion_by_cell(predictions)
    found = resample(
        lambda weights: scores_from_confusion(np.tensordot(weights, counts, 1)),
        len(counts),
        n_resamples=n_resamples,
        seed=seed,
    )
    return found["macro_f1"]


def macro_f1(predictions: pd.DataFrame) -> float:
    """Return the macro-F1 of a table of predictions, each row counting once."""
    return float(scores_from_confusion(_confusion_by_cell(predictions).sum(0))["macro_f1"])


def _confusion_by_cell(predictions: pd.DataFrame) -> np.ndarray:
    index, probs, _, _ = from_predictions(predictions)
    return confusion_by_cell(index, probs, *cluster_codes(clusters(predictions)[0]))


def summarise(
    predictions: pd.DataFrame, *, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Score predictions per image and per cell, each with its interval over cells.

    Parameters
    ----------
    predictions : DataFrame
        From `to_predictions`.
    level, n_resamples, seed
        As in `intervals.bootstrap_interval`.

    Returns
    -------
    dict
        `n_images`, `n_cells` (None where cells are not known), `resampled` (cells, groups or
        images) and `n_resampled` (how many there are of them), and for `image` and `cell` a dict of
        `macro_f1`, `low`, `high`, `level`; `cell` is None where cells are not known.
    """
    options = {"n_resamples": n_resamples, "seed": seed}
    names, unit = clusters(predictions)
    views = {"image": predictions, "cell": per_cell(predictions) if unit == "cells" else None}
    return {
        "n_images": len(predictions),
        "n_cells": int(predictions["cell"].nunique()) or None,
        "resampled": unit,
        "n_resampled": cluster_codes(names)[1],
        **{
            view: None
            if rows is None
            else {"macro_f1": macro_f1(rows)} | _ends(f1_resamples(rows, **options), level)
            for view, rows in views.items()
        },
    }


def inflation(
    predictions: Mapping[str, pd.DataFrame],
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Measure what a random split adds to the score of a split by source.

    Parameters
    ----------
    predictions : mapping of str to DataFrame
        From `compare_schemes`.
    level, n_resamples, seed
        As in `summarise`.

    Returns
    -------
    dict or None
        `value`, the macro-F1 per image under `random` minus that under `source`, with `low` and
        `high` over the same resampled cells, `level`, and `verdict`; None where one is missing.
    """
    if not {"random", "source"} <= set(predictions):
        return None
    options = {"n_resamples": n_resamples, "seed": seed}
    pair = [predictions[name] for name in ("random", "source")]
    drawn = [f1_resamples(rows, **options) for rows in pair]
    found = {"value": macro_f1(pair[0]) - macro_f1(pair[1])}
    found |= _ends(drawn[0] - drawn[1], level)
    return found | {"verdict": INFLATES[gain_verdict(found)]}


def chance(
    predictions: pd.DataFrame, *, level: float = 0.95, n_draws: int = 500, seed: int = 0
) -> dict[str, float]:
    """Score the same verdicts dealt out to the images at random.

    Parameters
    ----------
    predictions : DataFrame
        From `to_predictions`.
    level : float
        Share of the deals that the interval holds.
    n_draws, seed : int
        Number of deals, and what draws them.

    Returns
    -------
    dict
        `macro_f1` (mean of the deals), `low`, `high`, `level`.
    """
    index, probs, classes, _ = from_predictions(predictions)
    verdicts, k = probs.argmax(1), len(classes)
    rng = np.random.default_rng(seed)
    counts = [
        np.bincount(index * k + rng.permutation(verdicts), minlength=k * k) for _ in range(n_draws)
    ]
    values = scores_from_confusion(np.reshape(counts, (-1, k, k)))["macro_f1"]
    return {"macro_f1": float(values.mean())} | _ends(values, level)


def against_chance(score: Mapping[str, float], dealt: Mapping[str, float]) -> str:
    """Say whether a score lies above what verdicts dealt at random reach, by their intervals."""
    apart = {"low": score["low"] - dealt["high"], "high": score["high"] - dealt["low"]}
    return THAN_CHANCE[gain_verdict(apart)]


def repeated_summary(
    oof: pd.DataFrame, *, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Score a repeated cross-validation, per image and per cell.

    Parameters
    ----------
    oof : DataFrame
        From `leak.repeated_folds`.
    level, n_resamples, seed
        As in `summarise`.

    Returns
    -------
    dict
        `n_images`, `n_cells`, `n_repeats`, and for `image` and `cell`: `scores` (macro-F1 of each
        repeat), their `mean` and standard deviation `sd` (None for a single repeat), and `low`,
        `high`, `level` of the mean over resampled cells. `sd` tells how far the score hangs on
        the folds, the interval how far it hangs on the cells.
    """
    options = {"n_resamples": n_resamples, "seed": seed}
    repeats = [rows for _, rows in oof.groupby("repeat")]
    result: dict[str, Any] = {
        "n_images": len(repeats[0]),
        "n_cells": int(oof["cell"].nunique()),
        "n_repeats": len(repeats),
    }
    for view, tables in (("image", repeats), ("cell", [per_cell(rows) for rows in repeats])):
        scores = [macro_f1(rows) for rows in tables]
        drawn = np.mean([f1_resamples(rows, **options) for rows in tables], axis=0)
        result[view] = {
            "scores": scores,
            "mean": float(np.mean(scores)),
            "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        } | _ends(drawn, level)
    return result


def _ends(values: np.ndarray, level: float) -> dict[str, Any]:
    return percentiles(values, level=level) | {"level": level}
