"""The three words of a verdict, and the rules by which a figure comes to one of them."""

from __future__ import annotations

from collections.abc import Mapping

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "not confirmed", "undecided"

GAIN_RULE = (
    "confirmed if the whole interval of the difference lies above 0, not confirmed if the whole "
    "interval lies below 0, undecided if it holds 0"
)
STABLE_RULE = (
    "confirmed if the upper end of the interval of the spread over seeds and the largest drop "
    "between epochs both stay within the tolerance, not confirmed if the lower end exceeds it or "
    "the drop exceeds it twice over, else undecided"
)


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


def gain_verdict(low: float, high: float) -> str:
    """Judge a difference by its interval: see `GAIN_RULE`."""
    if low > 0:
        return CONFIRMED
    return REFUTED if high < 0 else UNDECIDED


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
