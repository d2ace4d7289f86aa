"""The words of a verdict, and the rules by which a figure comes to one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "not confirmed", "undecided"
NOT_JUDGED = "not judged"

CLAIM_RULE = (
    "confirmed if the whole interval lies at or above the claim, not confirmed if the whole "
    "interval lies below it, undecided if it holds the claim or has no width"
)
GAIN_RULE = (
    "confirmed if the whole interval of the difference lies above 0, not confirmed if the whole "
    "interval lies below 0, undecided if it holds 0"
)
STABLE_RULE = (
    "confirmed if the upper end of the interval of the spread over seeds and the largest drop "
    "between epochs both stay within the tolerance, not confirmed if the lower end exceeds it or "
    "the drop exceeds it twice over, else undecided"
)
FAIR_SHARE = 0.5
"""Share of the energy of a heat map from which "on the target" is a fair word."""


def between(value: float, *, confirmed: float, refuted: float) -> str:
    """Return the verdict on a value that is good when small.

    Parameters
    ----------
    value : float
    confirmed, refuted : float
        At most `confirmed` confirms, above `refuted` refutes, between the two nothing is decided.
    """
    if value <= confirmed:
        return CONFIRMED
    return REFUTED if value > refuted else UNDECIDED


def weakest(*verdicts: str) -> str:
    """Return the verdict on a claim that asks for several things at once."""
    ranked = (REFUTED, NOT_JUDGED, UNDECIDED, CONFIRMED)
    return min(verdicts, key=ranked.index)


def claim_verdict(
    interval: Mapping[str, Any], *, claim: float, less_is_better: bool = False
) -> str:
    """Judge a claimed score by the interval of the measured one: see `CLAIM_RULE`.

    An interval without width decides nothing: with every verdict right, resampling cannot see how
    sure that is.

    Parameters
    ----------
    interval : mapping
        `low` and `high`, None where there is no interval.
    claim : float
        The score claimed.
    less_is_better : bool
        Turns the rule round: the claim is then kept where nothing exceeds it.
    """
    low, high = interval["low"], interval["high"]
    if low is None or not low < high:
        return UNDECIDED
    if less_is_better:
        low, high, claim = -high, -low, -claim
    if low >= claim:
        return CONFIRMED
    return REFUTED if high < claim else UNDECIDED


def gain_verdict(interval: Mapping[str, Any], *, less_is_better: bool = False) -> str:
    """Judge a difference by its interval: see `GAIN_RULE`.

    Parameters
    ----------
    interval : mapping
        `low` and `high`, None where there is no interval.
    less_is_better : bool
        Turns the rule round.
    """
    low, high = interval["low"], interval["high"]
    if low is None or low <= 0 <= high:
        return UNDECIDED
    return CONFIRMED if (low > 0) != less_is_better else REFUTED


def attention_verdict(energy: float, gain: Mapping[str, Any]) -> str:
    """Judge the claim that the attention lies on a target.

    Parameters
    ----------
    energy : float
        Mean share of the energy on the target.
    gain : mapping
        `low` and `high`: the interval of the mean of energy minus area, None where there is none.

    Returns
    -------
    str
        Confirmed where the whole interval is above 0 and the energy above `FAIR_SHARE`; not
        confirmed where the interval does not reach above 0, or the energy is no more than that;
        undecided where the interval holds 0, or nothing is known.
    """
    low, high = gain["low"], gain["high"]
    if low is None or math.isnan(energy) or low <= 0 < high:
        return UNDECIDED
    return CONFIRMED if low > 0 and energy > FAIR_SHARE else REFUTED


def stable_verdict(spread: Mapping[str, float], drop: float, *, tolerance: float) -> str:
    """Judge whether training is stable: see `STABLE_RULE`.

    Parameters
    ----------
    spread : mapping
        What `paired.seed_spread` gives.
    drop : float
        What `ablations.largest_drop` gives; where it is not known (NaN) nothing is confirmed.
    tolerance : float
        Macro-F1 that may pass for noise.
    """
    if spread["low"] > tolerance or drop > 2 * tolerance:
        return REFUTED
    return CONFIRMED if spread["high"] <= tolerance and drop <= tolerance else UNDECIDED
