"""A blind form: cells that two readers name, knowing neither the label nor what the model says.

Half of the cells are suspects, half are not, in random order: a reader who is told that labels are
in doubt would otherwise doubt them all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from hv_utils.ground.errors import HematoVisionError

FORM_COLUMNS = ["number", "class"]
KEY_COLUMNS = ["number", "cell", "label", "verdict", "disagrees"]


def draw_form(
    judged: pd.DataFrame, *, n_cells: int = 24, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose the cells of a form and put them in random order.

    Parameters
    ----------
    judged : DataFrame
        From `disagreements.judge_cells`.
    n_cells : int
        Cells wanted: half of them the strongest suspects, the others drawn from the rest; fewer
        where there are not as many.
    seed : int
        Draws the others and the order.

    Returns
    -------
    form : DataFrame
        `number`, from 1, and an empty `class` for the reader to fill.
    key : DataFrame
        `number`, `cell`, `label`, `verdict` (what the unseen cell was taken for), `disagrees`; to
        be kept from the readers.
    """
    suspects = judged[judged["disagrees"]].head(n_cells // 2)
    others = judged[~judged["disagrees"]]
    others = others.sample(min(len(others), n_cells - len(suspects)), random_state=seed)
    key = pd.concat([suspects, others]).sample(frac=1, random_state=seed).reset_index(drop=True)
    verdict = key["suggested"].where(key["margin"] > 0, key["label"])
    key = key.assign(number=np.arange(1, len(key) + 1), verdict=verdict)[KEY_COLUMNS]
    return key[["number"]].assign(**{"class": ""}), key


def agreement(
    key: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame, classes: Sequence[str]
) -> pd.DataFrame:
    """Compare two readers with one another, with the labels and with the model.

    Parameters
    ----------
    key : DataFrame
        From `draw_form`.
    first, second : DataFrame
        The filled forms.
    classes : sequence of str
        The answers that count.

    Returns
    -------
    DataFrame
        One row a pair and a part of the form (`suspects`, `others`, `all`): `cells`, `agree` (share
        of them, 0…1) and `kappa`, the agreement beyond chance (Cohen, 1960), -1…1.

    Raises
    ------
    HematoVisionError
        Where a form lacks a cell or names a class that is none.
    """
    table = key.assign(
        first=_answers(key, first, "first", classes),
        second=_answers(key, second, "second", classes),
    )
    pairs = [("first", "second"), ("first", "label"), ("second", "label"), ("first", "verdict")]
    pairs.append(("second", "verdict"))
    parts = {"suspects": table["disagrees"], "others": ~table["disagrees"]}
    parts["all"] = pd.Series(True, index=table.index)
    rows = []
    for one, other in pairs:
        for part, mask in parts.items():
            a, b = table.loc[mask, one], table.loc[mask, other]
            told = {"cells": len(a), "agree": (a == b).mean()}
            kappa = cohen_kappa_score(a, b, labels=list(classes)) if len(a) else np.nan
            rows.append({"between": f"{one} and {other}", "part": part, **told, "kappa": kappa})
    return pd.DataFrame(rows)


def _answers(
    key: pd.DataFrame, form: pd.DataFrame, reader: str, classes: Sequence[str]
) -> pd.Series:
    given = form.set_index("number")["class"].astype("string").str.strip().str.lower()
    found = key["number"].map(given)
    wrong = key.loc[~found.isin(list(classes)), "number"]
    if len(wrong):
        number = wrong.iloc[0]
        raise HematoVisionError(
            f"expected one of {', '.join(classes)} for each of {len(key)} cells, but the {reader} "
            f"form says {given.get(number, 'nothing')!r} for cell {number}: fill it"
        )
    return found
