"""Scores of the leak experiment, each with an interval over resampled cells, and their report.

The resampling is that of `hv_utils.scores.intervals`, here for one score at a time and for the
difference of two splits that judged the same images.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.scores.intervals import cluster_codes, scores_from_confusion
from hv_utils.scores.metrics import from_predictions, label_index, per_cell
from hv_utils.studies.leak import SCHEMES

MISSING = "n/a"


def f1_resamples(
    predictions: pd.DataFrame, *, n_resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Score the verdicts under resamples of their cells, drawn with replacement.

    Two tables of the same images in the same order get the same resamples, so that their
    difference has an interval of its own.

    Parameters
    ----------
    predictions : DataFrame
        From `prediction_table` or `metrics.per_cell`.
    n_resamples : int
        R.
    seed : int
        Draws them.

    Returns
    -------
    array, shape (R,), float 0…1
        Macro-F1 of each resample; classes that a resample lacks are left out of its mean.
    """
    labels, probs, classes, cells = from_predictions(predictions)
    k = len(classes)
    codes, n_clusters, _ = cluster_codes(cells, len(labels))
    flat = (codes * k + label_index(labels, classes)) * k + probs.argmax(1)
    counts = np.bincount(flat, minlength=n_clusters * k * k).reshape(n_clusters, k * k)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), n_resamples)
    return scores_from_confusion((weights @ counts).reshape(-1, k, k))["macro_f1"]


def macro_f1(predictions: pd.DataFrame) -> float:
    """Return the macro-F1 of a table of predictions, each row counting once."""
    labels, probs, classes, _ = from_predictions(predictions)
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (label_index(labels, classes), probs.argmax(1)), 1)
    return float(scores_from_confusion(counts)["macro_f1"])


def interval(values: np.ndarray, *, level: float = 0.95) -> dict[str, float]:
    """Return the ends of the middle part of resampled scores: `low`, `high`, `level`."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return {"low": float(low), "high": float(high), "level": level}


def summarise(
    predictions: pd.DataFrame, *, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Score predictions per image and per cell, each with its interval over cells.

    Parameters
    ----------
    predictions : DataFrame
        From `prediction_table`.
    level, n_resamples, seed
        As in `hv_utils.scores.intervals.bootstrap_interval`.

    Returns
    -------
    dict
        `n_images`, `n_cells` (None where cells are not known), `resampled` (cells or images), and
        for `image` and `cell` a dict of `macro_f1`, `low`, `high`, `level`; `cell` is None where
        cells are not known.
    """
    options = {"n_resamples": n_resamples, "seed": seed}
    known = bool(predictions["cell"].notna().any())
    views = {"image": predictions, "cell": per_cell(predictions) if known else None}
    return {
        "n_images": len(predictions),
        "n_cells": int(predictions["cell"].nunique()) or None,
        "resampled": "cells" if known else "images",
        **{
            view: None
            if rows is None
            else {"macro_f1": macro_f1(rows)} | interval(f1_resamples(rows, **options), level=level)
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
    found |= interval(drawn[0] - drawn[1], level=level)
    if found["low"] > 0:
        verdict = "inflates the score"
    else:
        verdict = "lowers the score" if found["high"] < 0 else "makes no difference we can tell"
    return found | {"verdict": verdict}


def chance(
    predictions: pd.DataFrame, *, level: float = 0.95, n_draws: int = 500, seed: int = 0
) -> dict[str, float]:
    """Score the same verdicts dealt out to the images at random.

    Parameters
    ----------
    predictions : DataFrame
        From `prediction_table`.
    level : float
        Share of the deals that the interval holds.
    n_draws, seed : int
        Number of deals, and what draws them.

    Returns
    -------
    dict
        `macro_f1` (mean of the deals), `low`, `high`, `level`.
    """
    labels, probs, classes, _ = from_predictions(predictions)
    index, verdicts, k = label_index(labels, classes), probs.argmax(1), len(classes)
    rng = np.random.default_rng(seed)
    counts = [
        np.bincount(index * k + rng.permutation(verdicts), minlength=k * k) for _ in range(n_draws)
    ]
    values = scores_from_confusion(np.reshape(counts, (-1, k, k)))["macro_f1"]
    return {"macro_f1": float(values.mean())} | interval(values, level=level)


def against_chance(score: Mapping[str, float], dealt: Mapping[str, float]) -> str:
    """Say whether a score lies above what verdicts dealt at random reach, by their intervals."""
    if score["low"] > dealt["high"]:
        return "better than chance"
    return "worse than chance" if score["high"] < dealt["low"] else "no better than chance"


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
        } | interval(drawn, level=level)
    return result


def headlines(result: Mapping[str, Any]) -> dict[str, dict[str, float] | None]:
    """Pick the numbers that the book quotes from the content of leak.json.

    Returns
    -------
    dict of str to dict or None
        `f1_random`, `f1_prefix`, `f1_source`, `f1_test`, `inflation`, `border_f1`,
        `border_chance` (both by source photo, on TEST where no source is known) and `cv_mean`:
        `value`, `low`, `high`, per image; None for what the images did not allow.
    """
    border = result["border"]
    fair = border.get("source") or border["test"]
    found = {f"f1_{name}": result["schemes"].get(name, {}).get("image") for name in SCHEMES}
    found |= {"inflation": result["inflation"], "border_f1": fair["image"]}
    found |= {"border_chance": fair["chance"]}
    found |= {"cv_mean": (result["cross_validation"] or {}).get("image")}
    return {
        name: score
        and {
            "value": next(score[key] for key in ("macro_f1", "value", "mean") if key in score),
            "low": score["low"],
            "high": score["high"],
        }
        for name, score in found.items()
    }


def comparison_table(results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Put the headline numbers of several builds side by side, in words.

    Parameters
    ----------
    results : mapping of str to mapping
        Name of each build, and the content of its leak.json.

    Returns
    -------
    DataFrame
        One row a number, one column a build.
    """
    names = {f"f1_{name}": f"macro F1, {words}" for name, words in SCHEMES.items()}
    names |= {"inflation": "inflation (random minus by source)"}
    names |= {"border_f1": "macro F1, border alone", "border_chance": "macro F1, chance"}
    names |= {"cv_mean": "macro F1, repeated cross-validation"}
    columns = {}
    for build, result in results.items():
        found = headlines(result)
        columns[build] = {
            words: MISSING
            if found[name] is None
            else _number(name, found[name]["value"])
            + f" ({_number(name, found[name]['low'])} to {_number(name, found[name]['high'])})"
            for name, words in names.items()
        }
    return pd.DataFrame(columns)


def _number(name: str, value: float) -> str:
    return f"{value:+.3f}" if name.startswith("inflation") else f"{value:.3f}"


def glue_values(
    result: Mapping[str, Any], reference: Mapping[str, Any] | None
) -> dict[str, float | int | str]:
    """Name the numbers of a run, and those of the reference run, for the prose of the book.

    Parameters
    ----------
    result : mapping
        Content of this run's leak.json.
    reference : mapping or None
        That of the reference run on the real photographs.

    Returns
    -------
    dict
        The keys of `headlines`, with `_low` and `_high`, `cv_sd` and `n_cells_cv` as numbers (NaN
        or 0 where missing), and the same under `real_` as texts ("n/a" where missing);
        `inflation_reading`, the predicate of a sentence about the inflation.
    """
    values: dict[str, float | int | str] = {}
    for prefix, build in (("", result), ("real_", reference)):
        found = headlines(build) if build else dict.fromkeys(headlines(result))
        for name, score in found.items():
            for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                number = float("nan") if score is None else score[end]
                text = MISSING if score is None else _number(name, number)
                values[f"{prefix}{name}{suffix}"] = text if prefix else number
        repeated = (build or {}).get("cross_validation")
        sd = repeated["image"]["sd"] if repeated else None
        cells = repeated["n_cells"] if repeated else None
        if prefix:
            values["real_cv_sd"] = MISSING if sd is None else f"{sd:.3f}"
            values["real_n_cells_cv"] = MISSING if cells is None else f"{cells:,}"
        else:
            values |= {"cv_sd": float("nan") if sd is None else sd, "n_cells_cv": cells or 0}
    values["inflation_reading"] = _reading(values["inflation_low"])
    return values


def _reading(low: float) -> str:
    """Say what a difference between the random split and that by source is, by its lower end."""
    if np.isnan(low):
        return "could not be measured here"
    return "is memory" if low > 0 else "cannot be told from nothing on so few cells"
