"""Cells that disagree with their label: a probe contradicts it whenever it has not seen the cell.

The rule, for one cell: average the out-of-fold probabilities of its copies in each repeat of a
cross-validation by source photo; the cell is listed where the average names another class in
*every* repeat. Among those, a suggestion is called confident where its probability reaches the mean
that the class gets on its own cells, the threshold of confident learning {cite:p}`northcutt2021`.
To learn what the rule misses and what it accuses wrongly, plant errors and look for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.predictions import from_predictions, label_index, prob_columns
from hv_utils.studies.leak import most_folds, repeated_folds


def judge_cells(oof: pd.DataFrame) -> pd.DataFrame:
    """Compare the label of each cell with what unseen it was taken for.

    Parameters
    ----------
    oof : DataFrame
        oof-predictions.csv: `path`, `label`, `cell`, `repeat`, `prob_<class>`.

    Returns
    -------
    DataFrame
        One row a cell, the strongest contradiction first: `cell`, `label`, `n_images`,
        `n_repeats`, `n_repeats_wrong` (the average names another class), `prob_label`, `suggested`
        (the likeliest other class), `prob_suggested` (both probabilities are means over repeats),
        `margin` (their difference, suggested less label), `disagrees` (wrong in every repeat),
        `confident` (`prob_suggested` reaches the mean of its class on its own cells).

    Raises
    ------
    HematoVisionError
        Where the table has no rows or no probabilities.
    """
    _, _, classes, _ = from_predictions(oof)
    each = oof.groupby(["cell", "repeat"], sort=True)[prob_columns(classes)].mean()
    about = oof.groupby("cell").agg(label=("label", "first"), n_images=("path", "nunique"))
    wrong = each.to_numpy().argmax(1) != label_index(
        about["label"].loc[each.index.get_level_values("cell")], classes
    )
    repeats = pd.Series(wrong, each.index).groupby("cell").agg(["size", "sum"])
    probs = each.groupby("cell").mean().to_numpy()
    index = label_index(about["label"], classes)
    rows = np.arange(len(index))
    others = probs.copy()
    others[rows, index] = -1
    suggested = others.argmax(1)
    own = [probs[index == j, j].mean() if (index == j).any() else 1.0 for j in range(len(classes))]
    table = about.assign(
        n_repeats=repeats["size"],
        n_repeats_wrong=repeats["sum"],
        prob_label=probs[rows, index],
        suggested=np.asarray(classes, object)[suggested],
        prob_suggested=probs[rows, suggested],
        margin=probs[rows, suggested] - probs[rows, index],
        confident=probs[rows, suggested] >= np.asarray(own)[suggested],
    )
    table["disagrees"] = table["n_repeats_wrong"] == table["n_repeats"]
    return table.sort_values("margin", ascending=False, kind="stable").reset_index()


def plant_errors(
    table: pd.DataFrame, *, share: float = 0.05, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give some cells a wrong label, all their copies alike.

    Parameters
    ----------
    table : DataFrame
        Image table with known cells.
    share : float
        Share of the cells of each class to take, above 0 and at most 0.5; one at least.
    seed : int
        Draws the cells and their labels, any other class being as likely.

    Returns
    -------
    planted : DataFrame
        `table` with the wrong labels.
    answers : DataFrame
        The cells: `cell`, `original`, `planted`.

    Raises
    ------
    HematoVisionError
        For a share out of range.
    """
    if not 0 < share <= 0.5:
        raise HematoVisionError(
            f"expected a share of cells above 0 and at most 0.5, got {share}: beyond a half the "
            "wrong labels would outvote the right ones"
        )
    rng = np.random.default_rng(seed)
    labels = table.groupby("cell")["label"].first()
    classes = sorted(labels.unique())
    rows = []
    for name in classes:
        cells = labels.index[labels == name]
        for cell in rng.choice(cells, max(1, round(share * len(cells))), replace=False):
            rows.append([cell, name, rng.choice([other for other in classes if other != name])])
    answers = pd.DataFrame(rows, columns=["cell", "original", "planted"])
    wrong = table["cell"].map(answers.set_index("cell")["planted"])
    return table.assign(label=wrong.fillna(table["label"])), answers


def find_planted(
    table: pd.DataFrame,
    features: np.ndarray,
    *,
    share: float = 0.05,
    n_folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
) -> pd.DataFrame:
    """Plant errors and see whether the rule finds them.

    Parameters
    ----------
    table : DataFrame
        Image table with known cells, N rows.
    features : array, shape (N, D)
    share : float
        As in `plant_errors`; the first of `seeds` draws the cells.
    n_folds : int
        Folds, fewer where a class has fewer photos.
    seeds : sequence of int
        One a repeat of the cross-validation.

    Returns
    -------
    DataFrame
        What `judge_cells` gives for the planted table, with `planted` (bool) and `original` (the
        label before).
    """
    wrong, answers = plant_errors(table, share=share, seed=seeds[0])
    folds = most_folds(wrong, n_folds)
    judged = judge_cells(repeated_folds(wrong, features, n_folds=folds, seeds=seeds))
    before = table.groupby("cell")["label"].first()
    judged["original"] = judged["cell"].map(before)
    judged["planted"] = judged["cell"].isin(answers["cell"])
    return judged


def planted_summary(judged: pd.DataFrame) -> dict[str, int]:
    """Count what `find_planted` found.

    Parameters
    ----------
    judged : DataFrame
        From `find_planted`.

    Returns
    -------
    dict
        `planted`, `found` (listed by the rule), `original_suggested` (of those, with the label
        they had before), `listed` (all cells that the rule lists), `untouched_listed` (of those,
        cells whose label nobody changed).
    """
    listed = judged[judged["disagrees"]]
    found = listed[listed["planted"]]
    return {
        "planted": int(judged["planted"].sum()),
        "found": len(found),
        "original_suggested": int((found["suggested"] == found["original"]).sum()),
        "listed": len(listed),
        "untouched_listed": int((~listed["planted"]).sum()),
    }
