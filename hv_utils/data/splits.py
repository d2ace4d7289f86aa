"""Splits by source photo: all copies of one cell fall on one side.

A random split of augmented copies puts siblings of every test image into training, and the score
then measures memory (Kapoor and Narayanan, 2023). Every training path of the project holds out
through this module and has its table checked by it.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from hv_utils.ground.errors import HematoVisionError

HELD_OUT = {"simple": "test"}  # un-augmented photos of the test cells: the same side as the copies
UNPLACED = "unplaced"


class LeakError(HematoVisionError):
    """A source photo, or one and the same file, lies on two sides of a split."""


def hold_out(
    table: pd.DataFrame,
    *,
    fraction: float = 0.2,
    seed: int,
    on: str = "group",
    to: str = "val",
) -> pd.DataFrame:
    """Turn part of the training rows into `to`, whole source photos at a time.

    Parameters
    ----------
    table : DataFrame
        Image table with `label`, `split` and `on` (or `cell`, where there is no column `on`). Where
        it has a column `variant`, kinds within a class, these are spread over both sides alike:
        what is chosen on cells that are easier than others is chosen badly.
    fraction : float
        Share of the training images to hold out, above 0 and at most 0.5. Photos are kept whole,
        and folds are 1/2, 1/3, … of the rows, so the share is met only nearly.
    seed : int
        Draws the photos.
    on : str
        Column that names the source photo, or the group of photos that show the same cell.
    to : str
        Name of the part held out: `val`, or `test` where a source brings no test part.

    Returns
    -------
    DataFrame
        A copy. Every class has photos on both sides. Where sources are known in part, the
        training rows without one become `unplaced`: they may be siblings of either side, so they
        are safe on neither. Only where no source at all is known are images drawn singly, files
        of the same content still together.

    Raises
    ------
    HematoVisionError
        For a fraction out of range, no training rows, or a class with a single source photo.
    """
    if not 0 < fraction <= 0.5:
        raise HematoVisionError(
            f"expected a held-out share above 0 and at most 0.5, got {fraction}: "
            "0.2 keeps one photo in five"
        )
    table = table.copy()
    training = table.index[table["split"] == "train"]
    if len(training) == 0:
        raise HematoVisionError(
            f"expected rows with split 'train' to hold some out, got only "
            f"{sorted(table['split'].unique())}: the table has been split differently"
        )
    groups = source_groups(table.loc[training], on=on)
    table.loc[training[groups.isna()], "split"] = UNPLACED
    groups = groups.dropna()
    labels = table.loc[groups.index, "label"]
    photos = groups.groupby(labels).nunique()
    if photos.min() < 2:
        raise HematoVisionError(
            f"expected at least two source photos of every class to hold one out, but "
            f"{photos.idxmin()} has {photos.min()}: add photos of it or leave the class out"
        )
    kinds = _kinds(table.loc[groups.index], groups)
    chosen = _best_fold(labels, kinds, groups, fraction=fraction, seed=seed)
    table.loc[groups.index[chosen], "split"] = to
    return table


def _kinds(rows: pd.DataFrame, groups: pd.Series) -> pd.Series:
    """Return what is to be spread evenly: the class and, where it is told, the kind within it.

    What a single group shows counts as the commonest kind of its class.
    """
    if "variant" not in rows:
        return rows["label"]
    kinds = rows["label"].astype(str) + "/" + rows["variant"].astype(str)
    counts = groups.groupby(kinds).nunique()
    by_label = rows["label"].groupby(kinds).first()
    commonest = counts.groupby(by_label).idxmax()
    return kinds.where(kinds.map(counts) >= 2, rows["label"].map(commonest))


def source_groups(table: pd.DataFrame, *, on: str = "group") -> pd.Series:
    """Return what must stay together: the group, else the cell, else the file's content.

    Parameters
    ----------
    table : DataFrame
        Image table.
    on : str
        Column to use where it exists.

    Returns
    -------
    Series of str
        Index of `table`; missing only where some of the table's sources are known and this one
        is not.
    """
    groups = table[on] if on in table else table["cell"]
    if groups.notna().any():
        return groups.astype("string")
    if "sha256" in table and table["sha256"].notna().all():
        return table["sha256"].astype("string")
    return pd.Series(np.arange(len(table)).astype(str), index=table.index, dtype="string")


def _best_fold(
    labels: pd.Series, kinds: pd.Series, groups: pd.Series, *, fraction: float, seed: int
) -> np.ndarray:
    """Return the positions of the fold whose share of every kind is nearest to `fraction`."""
    (classes, codes), (_, kind_codes) = (np.unique(x, return_inverse=True) for x in (labels, kinds))
    totals, kind_totals = np.bincount(codes), np.bincount(kind_codes)
    best, least = None, np.inf
    # With few photos no fold of the wanted size may hold every class: take wider ones then.
    for n_splits in range(max(2, round(1 / fraction)), 1, -1):
        if n_splits > totals.min():
            continue
        folds = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
        for _, part in folds.split(kind_codes, kind_codes, groups):
            held = np.bincount(codes[part], minlength=len(classes))
            shares = np.bincount(kind_codes[part], minlength=len(kind_totals)) / kind_totals
            worst = np.abs(shares - fraction).max()
            if (held > 0).all() and (held < totals).all() and worst < least:
                best, least = part, worst
        if best is not None:
            return best
    raise HematoVisionError(
        f"expected source photos of every class on both sides, but no split of the "
        f"{groups.nunique()} photos gives that: try another seed, or add photos of the rare class"
    )


def limit_copies(table: pd.DataFrame, copies: int, *, seed: int) -> pd.DataFrame:
    """Return at most so many copies of each source cell, drawn at random.

    Copies of one cell tell almost the same, and each costs as much as a new cell.

    Parameters
    ----------
    table : pandas.DataFrame
        Image table; rows whose cell is not known all stay.
    copies : int
        0 leaves all.
    seed : int
        Draws them.

    Returns
    -------
    pandas.DataFrame
        With the index and the order of `table`.

    Raises
    ------
    HematoVisionError
        Where `copies` is negative.
    """
    if copies < 0:
        raise HematoVisionError(
            f"expected how many copies of each cell take part, or 0 for all, got {copies}"
        )
    if not copies:
        return table
    drawn = table.sample(frac=1, random_state=seed)
    many = drawn.groupby("cell").cumcount() >= copies  # a cell that is not known counts as none
    return table.loc[table.index.difference(drawn.index[many & drawn["cell"].notna()], sort=False)]


def grouped_folds(
    table: pd.DataFrame, n_splits: int, seed: int, *, on: str = "group"
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut a table into folds for cross-validation, source photos whole, classes balanced.

    Parameters
    ----------
    table : DataFrame
        Image table; all its rows take part.
    n_splits : int
        Number of folds, two or more.
    seed : int
        Draws the folds.
    on : str
        Column that names the source photo or group.

    Yields
    ------
    tuple of array of int
        Positions of the training rows and of the test rows.

    Raises
    ------
    HematoVisionError
        Where the sources are known in part only, or a class has fewer photos than folds.
    """
    groups = source_groups(table, on=on)
    if groups.isna().any():
        raise HematoVisionError(
            f"expected the source photo of every image, but {int(groups.isna().sum())} of "
            f"{len(table)} have none: leave these rows out, they may be siblings of any fold"
        )
    photos = groups.groupby(table["label"]).nunique()
    if not 2 <= n_splits <= photos.min():
        raise HematoVisionError(
            f"expected 2 to {photos.min()} folds, as {photos.idxmin()} has {photos.min()} source "
            f"photos, got {n_splits}: choose fewer folds"
        )
    folds = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
    yield from folds.split(table, table["label"], groups)


def set_aside_shared(table: pd.DataFrame, *, on: str = "group") -> pd.DataFrame:
    """Take images out that show what a test image shows, or a validation image.

    The real set's TRAIN and TEST share no photo, but some photos of the one overlap photos of the
    other; and folders that people have split themselves may hold one patient, or one file, on two
    sides. A test part is kept as it is, so validation gives way to it, and training to both.

    Parameters
    ----------
    table : DataFrame
        Image table with `split`, `on`, and perhaps `sha256`, which each file's content is told by.
    on : str
        Column that names the group of photos that show the same field.

    Returns
    -------
    DataFrame
        A copy in which such rows of training and validation have the split `unplaced`.
    """
    table = table.copy()
    for column in (on, "sha256"):
        for giving, keeping in (("val", ["test"]), ("train", ["test", "val"])):
            if column in table:
                kept = table["split"].replace(HELD_OUT).isin(keeping)
                shared = table[column].isin(table.loc[kept, column].dropna())
                table.loc[shared & (table["split"] == giving), "split"] = UNPLACED
    return table


def check_no_leak(table: pd.DataFrame, *, on: str = "group") -> None:
    """Refuse a table in which one source photo, or one file, lies on two sides of a split.

    Parameters
    ----------
    table : DataFrame
        Image table with `split`; `on`, `cell` and `sha256` are each checked where present. Rows of
        `simple` count as `test`, rows of `unplaced` belong to no side.
    on : str
        Column that names the source photo or group.

    Raises
    ------
    LeakError
        Naming the first offender, its splits and how many more there are.
    """
    used = table[table["split"] != UNPLACED]
    side = used["split"].replace(HELD_OUT)
    for column, noun in (("cell", "photo"), (on, "photo group"), ("sha256", "file content")):
        if column in used:
            _check_column(used, side, column, noun)
    source = used[on] if on in used else used.get("cell", None)
    if source is None or not source.notna().any() or not {"train", "val"} <= set(side):
        return
    blind = int((source.isna() & side.isin(["train", "val"])).sum())
    if blind:
        raise LeakError(
            f"expected the source photo of every image in train and val, but {blind} have none: "
            "they may be copies of a photo on the other side; split with splits.hold_out, which "
            "sets them aside"
        )


def _check_column(table: pd.DataFrame, side: pd.Series, column: str, noun: str) -> None:
    sides = side.groupby(table[column]).unique()
    leaks = sides[sides.map(len) > 1]
    if leaks.empty:
        return
    name, found = leaks.index[0], sorted(leaks.iloc[0], key="train val test".find)
    paths = table.loc[table[column] == name, "path"] if "path" in table else pd.Series(dtype=str)
    shown = str(name)[:12] + (f", {paths.iloc[0]}," if column == "sha256" and len(paths) else "")
    others = f" (and {len(leaks) - 1} more)" if len(leaks) > 1 else ""
    raise LeakError(
        f"expected each source photo in one split, but {noun} {shown} is in "
        f"{' and '.join(found)}{others}: its copies would be learnt and tested at once; "
        "keep them together, as splits.hold_out does"
    )
