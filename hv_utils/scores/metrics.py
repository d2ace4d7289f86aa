"""The scores of a run: per image, per cell, per class, with their intervals.

The contract of metrics.json: classes in alphabetical order, confusion matrix with rows true and
columns predicted. Single scores come from scikit-learn.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn import metrics as sk

from hv_utils.ground.predictions import from_predictions, likeliest, prob_columns
from hv_utils.scores.calibration import log_loss
from hv_utils.scores.intervals import bootstrap_interval, leave_one_cell_out

HEADLINES = {
    "accuracy": "accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro-F1",
    "roc_auc": "ROC area",
    "average_precision": "average precision",
}


def score(
    table: pd.DataFrame, *, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Compute what metrics.json holds, but for the calibration, which needs validation images.

    Parameters
    ----------
    table : DataFrame
        Predictions, N rows: `label`, `prob_<class>`, and `cell` where known.
    level, n_resamples, seed
        As in `intervals.bootstrap_interval`.

    Returns
    -------
    dict
        The keys of metrics.json (`n_images`, `n_cells`, `accuracy`, `macro_f1`,
        `balanced_accuracy`, `per_class`, `confusion_matrix`, `classes`), further scores
        (`macro_precision`, `macro_recall`, `roc_auc`, `average_precision`, `log_loss`),
        `intervals`, `per_cell` (the same for the averaged probabilities of each cell, or None
        where no cell is known) and `leave_one_cell_out` (or None).

    Raises
    ------
    HematoVisionError
        Where it is no table of predictions, see `from_predictions`.
    """
    options = {"level": level, "n_resamples": n_resamples, "seed": seed}
    index, pred_probs, classes, cells = from_predictions(table)
    result = {"n_images": len(table), "n_cells": int(cells.nunique()) or None}
    result |= point_scores(index, pred_probs, classes)
    result["intervals"] = bootstrap_interval(table, **options)
    result |= {"per_cell": None, "leave_one_cell_out": None}
    if cells.notna().any():
        result["per_cell"] = _cell_scores(per_cell(table), options)
        left_out = leave_one_cell_out(table)
        low, high = left_out["macro_f1"].agg(["min", "max"])
        result["leave_one_cell_out"] = {
            "macro_f1": {"low": float(low), "high": float(high)},
            "most_influential": left_out.head(5).to_dict("records"),
        }
    return result


def point_scores(
    index: np.ndarray, pred_probs: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Score predictions once, without intervals.

    Parameters
    ----------
    index : array, shape (N,), int
        Position of the true class.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities.
    classes : sequence of str, length K
        Class names.

    Returns
    -------
    dict
        The scores of `score`. Means go over the classes that have true images; the ranking scores
        are None where no class has both positives and negatives.
    """
    predicted = pred_probs.argmax(1)
    every = np.arange(len(classes))
    table = np.array(
        sk.precision_recall_fscore_support(index, predicted, labels=every, zero_division=0)
    )
    present = table[3] > 0
    precision, recall, f1 = table[:3, present].mean(1)
    columns = ("precision", "recall", "f1", "support")
    per_class = {
        name: dict(zip(columns, [*map(float, table[:3, j]), int(table[3, j])], strict=True))
        for j, name in enumerate(classes)
    }
    ranked = [j for j in every if 0 < table[3, j] < len(index)]
    rankings = {"roc_auc": sk.roc_auc_score, "average_precision": sk.average_precision_score}
    return {
        "accuracy": float(sk.accuracy_score(index, predicted)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
        "balanced_accuracy": float(recall),
        **{
            name: float(np.mean([measure(index == j, pred_probs[:, j]) for j in ranked]))
            if ranked
            else None
            for name, measure in rankings.items()
        },
        "log_loss": log_loss(index, pred_probs),
        "per_class": per_class,
        "confusion_matrix": sk.confusion_matrix(index, predicted, labels=every).tolist(),
        "classes": list(classes),
    }


def per_cell(table: pd.DataFrame) -> pd.DataFrame:
    """Average the probabilities over the images of each cell.

    Parameters
    ----------
    table : DataFrame
        Predictions: `label`, `prob_<class>`, `cell`; rows without a cell are left out.

    Returns
    -------
    DataFrame
        One row a cell: `cell`, `label` (that of most of its images), `n_images`, `share_right`
        (of its images, 0…1), `prob_<class>` (means), `predicted`.
    """
    _, probs, classes, cells = from_predictions(table)
    names = prob_columns(classes)
    rows = pd.DataFrame(probs, columns=names).assign(cell=cells.to_numpy(object))
    rows["label"] = table["label"].to_numpy(object)
    rows["right"] = likeliest(rows) == rows["label"]
    grouped = rows[rows["cell"].notna()].groupby("cell")
    means = grouped[names].mean()
    about = grouped.agg(n_images=("right", "size"), share_right=("right", "mean"))
    about.insert(0, "label", pd.crosstab(rows["cell"], rows["label"]).idxmax(axis=1))
    return about.join(means).assign(predicted=likeliest(means)).reset_index()


def _cell_scores(cells: pd.DataFrame, options: Mapping[str, Any]) -> dict[str, Any]:
    """Score the cells, each with the mean of its images' probabilities."""
    index, probs, classes, _ = from_predictions(cells)
    result = {"n_cells": len(cells)} | point_scores(index, probs, classes)
    result["intervals"] = bootstrap_interval(cells, **options)
    right = int((probs.argmax(1) == index).sum())
    result["accuracy_wilson"] = wilson(right, len(cells), level=options["level"])
    return result


def wilson(successes: int, trials: int, *, level: float = 0.95) -> dict[str, Any]:
    """Return Wilson's interval of a share (Wilson, 1927).

    It has a width even where every trial succeeds, where a bootstrap has none.
    """
    found = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return {"low": float(found.low), "high": float(found.high), "level": level, "method": "Wilson"}


def headline_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Lay out the headline scores with their intervals, per image and per cell.

    Parameters
    ----------
    result : mapping
        What `score` gives, or the content of a metrics.json.

    Returns
    -------
    DataFrame
        `score` (its key), `name`, `level` ("per image" or "per cell"), `value`, `low`, `high`; no
        rows per cell where cells are not known.
    """
    parts = {"per image": result, "per cell": result.get("per_cell")}
    rows = [
        {"score": key, "name": name, "level": level, "value": part[key]}
        | {end: part["intervals"][key][end] for end in ("low", "high")}
        for level, part in parts.items()
        if part
        for key, name in HEADLINES.items()
    ]
    return pd.DataFrame(rows)


def confident_mistakes(table: pd.DataFrame, n: int = 8) -> pd.DataFrame:
    """Find the wrong verdicts with the highest confidence, one a cell.

    Parameters
    ----------
    table : DataFrame
        Predictions: `label`, `prob_<class>`, and `cell` where known.
    n : int
        Rows wanted at most.

    Returns
    -------
    DataFrame
        Rows of `table` with `predicted` and `confidence` set, the most confident first; of each
        cell the worst image only, since its copies fail together. Empty where all are right.
    """
    _, probs, _, cells = from_predictions(table)
    chosen = table.assign(
        predicted=likeliest(table),
        confidence=probs.max(1),
        _once=cells.fillna(pd.Series(table.index.astype(str), table.index)).to_numpy(object),
    )
    wrong = chosen[chosen["predicted"] != chosen["label"]]
    wrong = wrong.sort_values("confidence", ascending=False, kind="stable")
    return wrong.drop_duplicates("_once").drop(columns="_once").head(n)
