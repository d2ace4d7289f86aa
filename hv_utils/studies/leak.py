"""The leak experiment: one model, several splits, and what each of them makes of its score.

A class of score inflation that surveys find in many fields {cite}`kapoor2023`: copies of one cell
on both sides of a split. The probe of `probes` is the same throughout; only the answer to "which
images may it learn from?" differs.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedKFold

from hv_utils.data.splits import UNPLACED, grouped_folds, source_groups
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.predictions import prob_columns, to_predictions
from hv_utils.studies.probes import fit_predict, out_of_fold

SCHEMES = {
    "random": "random split of the images",
    "prefix": "split by the number in the file name",
    "source": "split by source photo",
    "test": "official TEST",
}


def usable_rows(table: pd.DataFrame, *, max_images: int = 0, seed: int = 0) -> pd.DataFrame:
    """Return the rows of an image table that take part, and in which role.

    Parameters
    ----------
    table : DataFrame
        Image table. Left out are rows of `simple` (un-augmented twins of TEST), and `unplaced` ones
        whose photo is not known while that of others is.
    max_images : int
        Take about so many, each split and class in proportion and the copies of every cell in
        turn, so that the cells stay; 0 takes all.
    seed : int
        Draws them.

    Returns
    -------
    DataFrame
        A new index; the column `part` is `TRAIN` (train and val), `TEST`, or `ASIDE`: training
        images set aside because a test image shows the same field. Folds that keep groups whole
        may use them, a comparison of TRAIN with TEST may not.
    """
    parts = {"train": "TRAIN", "val": "TRAIN", "test": "TEST", UNPLACED: "ASIDE"}
    rows = table.assign(part=table["split"].map(parts))
    rows = rows[rows["part"].notna() & ((rows["part"] != "ASIDE") | rows["cell"].notna())]
    if max_images and max_images < len(rows):
        drawn = rows.sample(frac=1, random_state=seed)
        turn = drawn.groupby(source_groups(drawn), dropna=False).cumcount()
        drawn = drawn.loc[turn.sort_values(kind="stable").index]
        sizes = rows.groupby(["part", "label"]).size() * (max_images / len(rows))
        taken = drawn.groupby(["part", "label"], group_keys=False)
        kept = [part.head(max(2, round(sizes[name]))).index for name, part in taken]
        rows = rows.loc[np.sort(np.concatenate(kept))]
    return rows.reset_index(drop=True)


def name_prefix(paths: Iterable[str]) -> pd.Series:
    """Return the number after the first underscore of each file name, missing where none is.

    In `_12_3456.jpeg` it is 12, the place of the copy in a shuffled pass over the photos. It looks
    like the number of a photo, and is not.
    """
    names = pd.Series([Path(path).name for path in paths], dtype="string")
    return names.str.extract(r"^[^_]*_(\d+)_", expand=False)


def scheme_folds(
    table: pd.DataFrame, scheme: str, *, n_folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut an image table into folds by one of the schemes.

    Parameters
    ----------
    table : DataFrame
        Image table, all rows of which take part.
    scheme : str
        `random` (images at random, classes balanced), `prefix` (images with the same number in
        the file name together) or `source` (copies of one photo together, classes balanced).
    n_folds : int
        Two or more.
    seed : int
        Draws the folds.

    Returns
    -------
    list of pairs of int arrays
        Positions of training and of test rows.

    Raises
    ------
    HematoVisionError
        Where the table does not hold what the scheme needs.
    """
    if scheme == "source":
        if table["cell"].isna().all() and table.get("group", table["cell"]).isna().all():
            raise HematoVisionError(
                "expected images with a known source photo to split by it, but none has one: "
                "copies that cannot be told apart cannot be kept together"
            )
        return list(grouped_folds(table, n_folds, seed))
    if scheme == "random":
        least = int(table["label"].value_counts().min())
        if not 2 <= n_folds <= least:
            raise HematoVisionError(
                f"expected 2 to {least} folds, as the rarest class has {least} images, "
                f"got {n_folds}: choose fewer folds"
            )
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        return list(folds.split(table, table["label"]))
    if scheme == "prefix":
        prefixes = name_prefix(table["path"])
        if prefixes.isna().any() or prefixes.nunique() < n_folds:
            raise HematoVisionError(
                f"expected file names such as _12_3456.jpeg with at least {n_folds} first numbers, "
                f"got {prefixes.nunique()} over {len(table)} images: these images are named "
                "otherwise, and there is nothing to be misled by"
            )
        folds = GroupKFold(n_folds, shuffle=True, random_state=seed)
        return list(folds.split(table, groups=prefixes))
    raise HematoVisionError(
        f"expected a scheme that is one of random, prefix, source, got {scheme!r}: check its name"
    )


def most_folds(table: pd.DataFrame, n_folds: int) -> int:
    """Return `n_folds`, or the largest smaller number that the rarest class allows (at least 2)."""
    groups = source_groups(table)
    return max(2, min(n_folds, int(groups.groupby(table["label"]).nunique().min())))


def compare_schemes(
    table: pd.DataFrame,
    features: np.ndarray,
    *,
    n_folds: int,
    seed: int,
    schemes: Sequence[str] = tuple(SCHEMES),
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Judge the images by the same probe under every scheme.

    Parameters
    ----------
    table : DataFrame
        From `usable_rows`.
    features : array, shape (N, D)
        Its rows.
    n_folds, seed : int
        As in `scheme_folds`.
    schemes : sequence of str
        Which of `SCHEMES`.

    Returns
    -------
    predictions : dict of str to DataFrame
        For each scheme a table as from `to_predictions`: TRAIN out of fold for `random`,
        `prefix` and `source`, TEST for `test` (fitted on all of TRAIN).
    left_out : dict of str to str
        For each scheme that the images do not allow, why.
    """
    classes = sorted(table["label"].unique())
    in_train, in_test = ((table["part"] == name).to_numpy() for name in ("TRAIN", "TEST"))
    train, test = table[in_train].reset_index(drop=True), table[in_test]
    predictions, left_out = {}, {}
    for scheme in schemes:
        if scheme == "test":
            probs = fit_predict(features[in_train], train["label"], features[in_test], classes)
            predictions[scheme] = to_predictions(test, probs, classes)
            continue
        try:
            folds = scheme_folds(train, scheme, n_folds=n_folds, seed=seed)
        except HematoVisionError as error:
            left_out[scheme] = str(error)
            continue
        probs = out_of_fold(features[in_train], train["label"], folds, classes)
        predictions[scheme] = to_predictions(train, probs, classes)
    return predictions, left_out


def repeated_folds(
    table: pd.DataFrame, features: np.ndarray, *, n_folds: int, seeds: Sequence[int]
) -> pd.DataFrame:
    """Cross-validate the probe by source photo, once for each seed.

    Parameters
    ----------
    table : DataFrame
        Image table with known cells, whatever their part.
    features : array, shape (N, D)
        Its rows.
    n_folds : int
        Folds of each repeat.
    seeds : sequence of int
        One a repeat; without any, only the columns are returned.

    Returns
    -------
    DataFrame
        One row an image and repeat: `path`, `label`, `cell`, `repeat` (0, 1, …), `prob_<class>`
        from a probe that saw no copy of the cell. The rows of every repeat are in the same order.
    """
    classes = sorted(table["label"].unique())
    columns = ["path", "label", "cell", "repeat", *prob_columns(classes)]
    parts = [pd.DataFrame(columns=columns)]
    for repeat, seed in enumerate(seeds):
        folds = grouped_folds(table, n_folds, seed)
        probs = out_of_fold(features, table["label"], folds, classes)
        parts.append(to_predictions(table, probs, classes).assign(repeat=repeat)[columns])
    return pd.concat(parts[1:] or parts, ignore_index=True)
