"""Why a drawn cell is mistaken: the reasons that the demo's truth knows.

On real cells nobody knows why a model errs. The demo knows of every image what was drawn, what it
was labelled, and how much of the cell is in the frame, so its mistakes can be sorted.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hv_utils.drawn.variants import TYPICAL

WRONG_LABEL, CUT_OFF, LOOK_ALIKE = "wrong label", "cut off", "look-alike"
NONE_KNOWN = "textbook cell, whole"
REASONS = (WRONG_LABEL, CUT_OFF, LOOK_ALIKE, NONE_KNOWN)
"""In the order in which they are asked: an image counts under the first that holds."""

WHOLE = 0.9
"""Share of a cell's area inside the frame below which it counts as cut off."""


def reasons_of(images: pd.DataFrame, *, least: float = WHOLE) -> pd.Series:
    """Return what makes each image hard, as far as it was drawn so.

    Parameters
    ----------
    images : DataFrame
        Image table of the demo: `label`, `drawn_as`, `variant`, `inside` (0 to 1).
    least : float
        Share of the cell inside the frame below which it is cut off.

    Returns
    -------
    Series of str
        One of `REASONS` each, index of `images`.
    """
    asked = [
        images["drawn_as"] != images["label"],
        images["inside"] < least,
        images["variant"] != TYPICAL,
    ]
    return pd.Series(np.select(asked, REASONS[:-1], NONE_KNOWN), images.index)


def mistakes_by_reason(predictions: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Sort verdicts by what makes their images hard.

    Parameters
    ----------
    predictions : DataFrame
        predictions.csv: `path`, `label`, `predicted`.
    images : DataFrame
        Image table of the demo.

    Returns
    -------
    DataFrame
        Index `REASONS`; `images`, `cells`, `mistakes` (images judged unlike their label), and
        `share`, mistakes over images, NaN where there are no images.
    """
    rows = images.set_index("path").loc[predictions["path"]].reset_index()
    wrong = (predictions["predicted"] != predictions["label"]).to_numpy(int)
    found = rows.assign(reason=reasons_of(rows), wrong=wrong).groupby("reason")
    table = found.agg(images=("path", "size"), cells=("cell", "nunique"), mistakes=("wrong", "sum"))
    table = table.reindex(list(REASONS), fill_value=0)
    return table.assign(share=table["mistakes"] / table["images"].where(table["images"] > 0))
