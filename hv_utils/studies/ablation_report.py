"""What the ablations found, as ablations.json keeps it and the book's pages quote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.scores.bootstrap import in_words
from hv_utils.scores.verdicts import NOT_JUDGED

NOTHING = {"value": np.nan, "low": None, "high": None, "verdict": NOT_JUDGED}


def gain_of(table: pd.DataFrame, gain: str, score: str = "macro_f1") -> dict[str, Any]:
    """Return one row of a table of `paired.gains`; `NOTHING` where nothing was compared."""
    if table.empty:
        return NOTHING
    return table[(table["gain"] == gain) & (table["score"] == score)].iloc[0].to_dict()


def claims(gains: Mapping[str, Mapping[str, Any]], *, n_cells: int) -> dict[str, dict[str, str]]:
    """Return `evidence` and `verdict` of each claim, for the page on the report's claims.

    Parameters
    ----------
    gains : mapping of str to mapping
        Name of the claim, and the gain that decides it, from `gain_of`.
    n_cells : int
        Held-out cells behind each.
    """
    held = f"macro-F1 on {n_cells} held-out cells, frozen features"
    return {
        name: {"evidence": f"{in_words(gain, signed=True)} {held}", "verdict": gain["verdict"]}
        for name, gain in gains.items()
    }


def glue_values(result: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Name the numbers and verdicts of a run for the prose of the book.

    Parameters
    ----------
    result : mapping
        Content of ablations.json.

    Returns
    -------
    numbers : dict of str to float
        `f1_<condition>`, `gain_augmented` with its ends `gain_low` and `gain_high`, `seed_sd`;
        NaN where not measured.
    verdicts : dict of str to str
        `verdict_<claim>`.
    """
    f1 = {
        row["condition"]: row["value"]
        for row in result.get("scores", [])
        if row["score"] == "macro_f1"
    }
    gain = gain_of(pd.DataFrame(result.get("gains", [])), "augmented, not plain")
    stability = result.get("stability", {})
    numbers = {f"f1_{name}": f1.get(name) for name in ("plain", "weighted", "augmented")}
    numbers |= {"gain_augmented": gain["value"], "gain_low": gain["low"]}
    numbers |= {"gain_high": gain["high"], "seed_sd": stability.get("sd")}
    judged = result.get("claims", {}) | {"stable": stability}
    verdicts = {
        f"verdict_{name}": judged.get(name, {}).get("verdict", NOT_JUDGED)
        for name in ("augmentation", "dropout", "early_stopping", "stable")
    }
    return {name: np.nan if n is None else float(n) for name, n in numbers.items()}, verdicts
