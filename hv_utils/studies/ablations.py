"""Ablations: take one ingredient away, keep all the rest, and score the cells held out.

Every question here is asked on the features of the frozen backbone, where one answer costs a
second and not an hour. All conditions of a comparison see the same folds, seeds and number of
images; `hv_utils.scores.paired` scores them and judges the differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from hv_utils.data.splits import grouped_folds, hold_out
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.predictions import label_index
from hv_utils.ground.runs import Run
from hv_utils.network.heads import HeadTrainer
from hv_utils.network.settings import HeadTraining
from hv_utils.scores.calibration import log_loss
from hv_utils.scores.paired import HeldOut, collect
from hv_utils.studies.probes import FEATURES, linear_probe

LEAST_CELLS = 5  # of each class: two to score, one to stop by, two to learn from
LEAST_FOLDS = 3  # with fewer, a small class has too few cells left to learn from


def kept_features(run: Run, table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the images whose features 07_leak left in the run folder, and these features.

    Parameters
    ----------
    run : Run
    table : DataFrame
        Image table.

    Returns
    -------
    rows : DataFrame
        Those of `table` that have features, N of them, with a new index.
    features : array, shape (N, 1280), float32

    Raises
    ------
    HematoVisionError
        Where 07_leak has not run, or worked on other images.
    """
    with np.load(run.need(FEATURES, made_by="07_leak")) as arrays:
        at = pd.Index(arrays["path"]).get_indexer(table["path"])
        features = arrays["features"][at[at >= 0]].astype(np.float32)
    if not len(features):
        raise HematoVisionError(
            f"expected features of this run's images in {run.path(FEATURES)}, but it has those of "
            "others: run notebooks/07_leak.ipynb again"
        )
    return table[at >= 0].reset_index(drop=True), features


def usable_cells(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Select what an ablation may use, and say why it cannot where it cannot.

    Parameters
    ----------
    table : DataFrame
        Image table.

    Returns
    -------
    rows : DataFrame
        Training and validation images whose source photo is known. The test cells stay unread: a
        reader may choose by an ablation, and nothing is chosen on the test split.
    reason : str
        "" where there are enough cells of every class; else why there is nothing to compare.
    """
    rows = table[table["split"].isin(["train", "val"]) & table["cell"].notna()]
    rows = rows.reset_index(drop=True)
    if rows.empty:
        return rows, "the source photos of these images are not known"
    groups = rows["group"] if "group" in rows else rows["cell"]
    counts = groups.groupby(rows["label"]).nunique()
    if len(counts) < 2 or counts.min() < LEAST_CELLS:
        return rows, (
            f"{counts.idxmin()} has {counts.min()} source photos outside the test split, "
            f"and {LEAST_CELLS} are needed"
        )
    return rows, ""


def even_copies(table: pd.DataFrame, copies: int, *, seed: int) -> np.ndarray:
    """Draw the same number of copies of each cell, so that the classes keep the photos' shares.

    Parameters
    ----------
    table : DataFrame
        Image table with `cell`.
    copies : int
        Wanted of each cell; fewer where the scarcest cell has fewer.
    seed : int

    Returns
    -------
    array of int
        Positions in `table`.
    """
    order, turn = _turns(table, seed)
    return order[turn < min(copies, table["cell"].value_counts().min())]


def balanced_copies(table: pd.DataFrame, total: int, *, seed: int) -> np.ndarray:
    """Draw as many copies of each class, spread evenly over its cells.

    Parameters
    ----------
    table : DataFrame
        Image table with `label` and `cell`.
    total : int
        Images wanted in all.
    seed : int

    Returns
    -------
    array of int
        Positions in `table`. A class with fewer copies than its part repeats some.
    """
    order, turn = _turns(table, seed)
    order = order[np.argsort(turn, kind="stable")]  # a first copy of every cell, then a second …
    labels = table["label"].to_numpy(object)[order]
    classes = sorted(set(labels))
    return np.concatenate(
        [np.resize(order[labels == name], max(1, total // len(classes))) for name in classes]
    )


def _turns(table: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows in random order, and for each its number among the copies of its cell."""
    order = np.random.default_rng(seed).permutation(len(table))
    cells = pd.Series(table["cell"].to_numpy(object)[order])
    return order, cells.groupby(cells).cumcount().to_numpy()


def imbalance(
    table: pd.DataFrame,
    features: np.ndarray,
    classes: Sequence[str],
    *,
    n_repeats: int,
    n_folds: int,
    copies: int,
    seed: int,
) -> dict[str, HeldOut]:
    """Compare three answers to rare classes: none, class weights, more copies of the rare.

    The probe of `hv_utils.studies.probes` learns from equally many images each time. "plain" and
    "weighted" see `copies` images of each training cell, so that the classes have the shares of
    the photos; "augmented" sees equally many images of each class, which takes more of the
    augmented copies of the rare cells and fewer of the common ones.

    Parameters
    ----------
    table : DataFrame
        What `usable_cells` gives, N rows.
    features : array, shape (N, D), float
    classes : sequence of str, length K
    n_repeats, n_folds : int
        Cross-validations, and folds of each, three at least; a class with fewer photos lowers
        them.
    copies : int
        Images of each cell that "plain" and "weighted" see.
    seed : int

    Returns
    -------
    dict of str to HeldOut
        "plain", "weighted", "augmented".
    """
    weights = {"plain": None, "weighted": "balanced", "augmented": None}
    labels = table["label"].to_numpy(object).astype(str)
    probs = {name: np.zeros((n_repeats, len(table), len(classes))) for name in weights}
    for repeat, fold_seed, fit, score in folds_of(table, n_repeats, n_folds, seed):
        part = table.iloc[fit]
        even = even_copies(part, copies, seed=fold_seed)
        drawn = {
            "plain": even,
            "weighted": even,
            "augmented": balanced_copies(part, len(even), seed=fold_seed),
        }
        for name, rows in drawn.items():
            probe = linear_probe().set_params(logisticregression__class_weight=weights[name])
            probe.fit(features[fit[rows]], labels[fit[rows]])
            columns = [list(classes).index(label) for label in probe.classes_]
            found = probe.predict_proba(features[score])
            probs[name][repeat, score[:, None], columns] = found
    return {name: collect(table, found, classes) for name, found in probs.items()}


def head_conditions(
    table: pd.DataFrame,
    features: np.ndarray,
    classes: Sequence[str],
    training: HeadTraining,
    *,
    dropouts: Sequence[float],
    n_repeats: int,
    n_folds: int,
    images: int,
) -> tuple[dict[tuple[float, bool], HeldOut], pd.DataFrame]:
    """Train the report's head with and without dropout, with and without early stopping.

    Parameters
    ----------
    table, features, classes, n_repeats, n_folds
        As in `imbalance`.
    training : HeadTraining
        See `HeadTrainer`. What early stopping watches are cells that are neither learnt from nor
        scored; the seed draws folds and copies, too.
    dropouts : sequence of float
        Shares of the features to drop, each 0 to below 1.
    images : int
        Training images of each head, balanced over the classes.

    Returns
    -------
    held_out : dict
        (dropout, whether stopped early) to `HeldOut`.
    trainings : DataFrame
        One row a training and end: `dropout`, `early_stopping`, `epochs` (passes run) and
        `train_loss` (log loss on its own training images, nothing dropped).
    """
    trainer = HeadTrainer(features.shape[1], len(classes), training)
    index = label_index(table["label"], classes)
    shape = (n_repeats, len(table), len(classes))
    probs = {(rate, stop): np.zeros(shape) for rate in dropouts for stop in (False, True)}
    rows = []
    for repeat, fold_seed, fit, score in folds_of(table, n_repeats, n_folds, training.seed):
        inner = hold_out(table.iloc[fit].assign(split="train"), fraction=0.25, seed=fold_seed)
        sides = {side: fit[np.flatnonzero(inner["split"] == side)] for side in ("train", "val")}
        drawn = {
            side: part[balanced_copies(table.iloc[part], count, seed=fold_seed)]
            for (side, part), count in zip(sides.items(), (images, images // 3), strict=True)
        }
        data = {side: (features[part], index[part]) for side, part in drawn.items()}
        for rate in dropouts:
            head = trainer.fit(data["train"], data["val"], dropout=rate, seed=fold_seed)
            for stop, kept in ((True, head.stopped), (False, head.final)):
                probs[rate, stop][repeat, score] = trainer.predict(kept, features[score])
                rows.append(
                    {
                        "dropout": rate,
                        "early_stopping": stop,
                        "epochs": head.stopped_after if stop else training.epochs,
                        "train_loss": log_loss(
                            data["train"][1], trainer.predict(kept, data["train"][0])
                        ),
                    }
                )
    return {key: collect(table, found, classes) for key, found in probs.items()}, pd.DataFrame(rows)


def folds_of(
    table: pd.DataFrame, n_repeats: int, n_folds: int, seed: int
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Cut the table into the folds of each repeat, `grouped_folds` of cells or of groups.

    Parameters
    ----------
    table : DataFrame
        Image table.
    n_repeats, n_folds, seed
        As in `imbalance`.

    Yields
    ------
    repeat : int
    fold_seed : int
        A seed of the fold's own.
    fit, score : array of int
        Positions to learn from and to judge.
    """
    groups = table["group"] if "group" in table else table["cell"]
    n_folds = min(max(n_folds, LEAST_FOLDS), groups.groupby(table["label"]).nunique().min())
    for repeat in range(n_repeats):
        folds = grouped_folds(table, n_folds, seed + repeat)
        for number, (fit, score) in enumerate(folds):
            yield repeat, seed + repeat * n_folds + number, fit, score


def seed_scores(
    table: pd.DataFrame,
    features: np.ndarray,
    classes: Sequence[str],
    training: HeadTraining,
    *,
    dropout: float,
    n_seeds: int,
    images: int,
) -> np.ndarray:
    """Train the report's head again and again; nothing differs but the seed of the training.

    Parameters
    ----------
    table : DataFrame
        What `usable_cells` gives: the run's own training and validation images.
    features, classes, training, dropout, images
        As in `head_conditions`; always stopped early, as the report's head is. The seed is that of
        the first.
    n_seeds : int
        Trainings.

    Returns
    -------
    array, shape (n_seeds,), float 0…1
        Macro-F1 on the validation cells, each cell counted once.
    """
    trainer = HeadTrainer(features.shape[1], len(classes), training)
    index = label_index(table["label"], classes)
    sides = {side: np.flatnonzero(table["split"] == side) for side in ("train", "val")}
    drawn = sides["train"][balanced_copies(table.iloc[sides["train"]], images, seed=training.seed)]
    val = sides["val"]
    found = []
    for number in range(n_seeds):
        head = trainer.fit(
            (features[drawn], index[drawn]),
            (features[val], index[val]),
            dropout=dropout,
            seed=training.seed + number,
        )
        found.append(trainer.predict(head.stopped, features[val]))
    return collect(table.iloc[val], np.stack(found), classes).each_repeat()


def largest_drop(history: pd.DataFrame) -> float:
    """Return by how much validation macro-F1 fell at most from one pass of fine-tuning to the next.

    The step from the head alone into the first pass counts: that is where large gradients do their
    harm.

    Parameters
    ----------
    history : DataFrame
        history.csv: `phase`, `val_loss`, `val_macro_f1`, one row an epoch.

    Returns
    -------
    float
        0 where it never fell, NaN where there was nothing to fall from.
    """
    tuned = history.loc[history["phase"] == "fine-tuning", "val_macro_f1"].to_numpy(float)
    head = history[history["phase"] == "head"].nsmallest(1, "val_loss")  # that which was kept
    scores = np.concatenate([head["val_macro_f1"], tuned]) if len(tuned) else tuned
    return float(max(0.0, -np.diff(scores).min())) if len(scores) > 1 else float("nan")
