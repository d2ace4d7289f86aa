"""The rules of the verdicts, at both sides of each threshold."""

import pytest

from hv_utils.scores.verdicts import (
    attention_verdict,
    between,
    claim_verdict,
    gain_verdict,
    stable_verdict,
)


@pytest.mark.parametrize(
    ("low", "high", "drop", "verdict"),
    [
        (0.01, 0.04, 0.02, "confirmed"),
        (0.01, 0.04, float("nan"), "undecided"),
        (0.01, 0.04, 0.07, "undecided"),
        (0.01, 0.04, 0.11, "not confirmed"),
        (0.01, 0.09, 0.0, "undecided"),
        (0.06, 0.09, 0.0, "not confirmed"),
    ],
)
def test_training_is_stable_by_the_written_rule(low, high, drop, verdict):
    spread = {"sd": 0.03, "low": low, "high": high}
    assert stable_verdict(spread, drop, tolerance=0.05) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.2, "confirmed"),
        (-0.2, -0.01, "not confirmed"),
        (-0.1, 0.1, "undecided"),
        (0.0, 0.0, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_a_gain_is_judged_by_its_whole_interval(low, high, verdict):
    assert gain_verdict({"low": low, "high": high}) == verdict
    if low is not None:
        assert gain_verdict({"low": -high, "high": -low}, less_is_better=True) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.92, 0.97, "confirmed"),
        (0.91, 0.97, "confirmed"),
        (0.80, 0.95, "undecided"),
        (0.80, 0.905, "not confirmed"),
        (1.00, 1.00, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_a_claimed_score_is_judged_by_the_interval_of_the_measured(low, high, verdict):
    assert claim_verdict({"low": low, "high": high}, claim=0.91) == verdict


@pytest.mark.parametrize(
    ("energy", "low", "high", "verdict"),
    [
        (0.7, 0.1, 0.3, "confirmed"),
        (0.4, 0.1, 0.3, "not confirmed"),
        (0.7, -0.3, -0.1, "not confirmed"),
        (0.7, -0.1, 0.1, "undecided"),
        (float("nan"), 0.1, 0.3, "undecided"),
        (0.7, None, None, "undecided"),
    ],
)
def test_attention_needs_half_the_energy_and_more_than_the_area(energy, low, high, verdict):
    assert attention_verdict(energy, {"low": low, "high": high}) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.05, "confirmed"), (0.07, "undecided"), (0.11, "not confirmed")]
)
def test_what_is_good_when_small_has_a_range_of_doubt(value, verdict):
    assert between(value, confirmed=0.05, refuted=0.1) == verdict
