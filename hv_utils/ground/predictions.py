"""The table of predictions: one row an image, one probability a class.

predictions.csv of a run has it, and so has every table that stands in for one: `path`, `label`,
`cell`, `prob_<class>` for each class in alphabetical order, `predicted`; and `group` behind these,
where no cell is known but what belongs together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hv_utils.ground.errors import HematoVisionError

if TYPE_CHECKING:
    import pandas as pd

_PREFIX = "prob_"


def prob_columns(classes: Iterable[str]) -> list[str]:
    """Return the names of the columns that hold the probabilities of `classes`."""
    return [_PREFIX + name for name in classes]


def to_predictions(
    table: pd.DataFrame, pred_probs: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Lay out what was predicted for the rows of an image table.

    Parameters
    ----------
    table : DataFrame
        Image table: `path`, `label`, `cell`, and perhaps `group`, N rows.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities, columns in the order of `classes`.
    classes : sequence of str, length K

    Returns
    -------
    DataFrame
        `path`, `label`, `cell`, `prob_<class>` and `predicted`, with a new index; and `group` where
        groups are all that is known.
    """
    table = table.reset_index(drop=True)
    result = table[["path", "label", "cell"]].copy()
    result[prob_columns(classes)] = pred_probs
    result["predicted"] = np.asarray(classes, object)[pred_probs.argmax(1)]
    if "group" in table and table["group"].notna().any() and table["cell"].isna().all():
        result["group"] = table["group"]
    return result


def from_predictions(
    table: pd.DataFrame, classes: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray, list[str], pd.Series]:
    """Take a table of predictions apart.

    Parameters
    ----------
    table : DataFrame
        `label`, `prob_<class>` for each class, and `cell` where known.
    classes : sequence of str, optional
        Classes expected; by default those of the columns.

    Returns
    -------
    index : array, shape (N,), int
        Position of the true class in `classes`.
    pred_probs : array, shape (N, K), float 0…1
        Probabilities, rows summing to 1, columns in the order of `classes`.
    classes : list of str
        In alphabetical order.
    cells : Series of str
        Source photo of each image, missing where unknown.

    Raises
    ------
    HematoVisionError
        Where there are no rows or no column for one of the classes, for a label that is none of
        them, and for rows that are no probabilities.
    """
    found = _classes_of(table)
    wanted = sorted(classes) if classes is not None else found
    if not wanted or not set(wanted) <= set(found) or "label" not in table or len(table) == 0:
        raise HematoVisionError(
            f"expected rows with label and prob_<class> for {wanted or 'each class'}, got "
            f"{len(table)} rows of {list(table.columns)}: is this predictions.csv of a run?"
        )
    probs = table[prob_columns(wanted)].to_numpy(float)
    wrong = ~((np.abs(probs.sum(1) - 1) < 1e-3) & (probs.min(1) >= 0))
    if wrong.any():
        bad = int(wrong.argmax())
        raise HematoVisionError(
            f"expected rows of probabilities that sum to 1, got {probs[bad].tolist()} in row "
            f"{bad}: logits need a softmax first, unreadable images no row"
        )
    cells = (table if "cell" in table else table.assign(cell=None))["cell"].astype("string")
    return label_index(table["label"], wanted), probs, wanted, cells


def clusters(table: pd.DataFrame) -> tuple[pd.Series, str]:
    """Return what belongs together in a table of predictions, and is resampled as one.

    Returns
    -------
    names : Series of str
        The cell of each image, or its group where no cell is known; missing where nothing is.
    unit : str
        cells, groups or images.
    """
    for unit, column in (("cells", "cell"), ("groups", "group")):
        if column in table and table[column].notna().any():
            return table[column].astype("string"), unit
    return table.assign(cell=None)["cell"].astype("string"), "images"


def likeliest(table: pd.DataFrame) -> np.ndarray:
    """Return the class with the highest probability in each row, shape (N,), str."""
    classes = _classes_of(table)
    probs = table[prob_columns(classes)].to_numpy(float)
    return np.asarray(classes, object)[probs.argmax(1)]


def _classes_of(table: pd.DataFrame) -> list[str]:
    return sorted(name[len(_PREFIX) :] for name in table.columns if name.startswith(_PREFIX))


def label_index(labels: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """Turn class names into their positions in `classes`.

    Parameters
    ----------
    labels : iterable of str, length N
    classes : sequence of str

    Returns
    -------
    array, shape (N,), int

    Raises
    ------
    HematoVisionError
        Where a label is not among the classes.
    """
    position = {name: index for index, name in enumerate(classes)}
    labels = list(labels)
    unknown = sorted({str(label) for label in labels if label not in position})
    if unknown:
        raise HematoVisionError(
            f"expected labels among {', '.join(classes)}, but came upon {', '.join(unknown)}: "
            "the model was probably trained on other classes; train again on this table"
        )
    return np.array([position[label] for label in labels], int)
