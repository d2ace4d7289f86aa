"""The differential: exact limits, Rümke's table, shares corrected for the training's balance."""

import numpy as np
import pytest
from scipy.stats import binomtest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.scores.differential import differential, exact_limits, ratio, rebalanced, rumke_table


@pytest.mark.parametrize(("count", "total"), [(0, 100), (5, 100), (100, 100), (3, 7)])
def test_limits_are_those_of_clopper_and_pearson(count, total):
    expected = binomtest(count, total).proportion_ci(method="exact")
    assert exact_limits(count, total) == pytest.approx((expected.low, expected.high))


def test_no_cell_says_nothing():
    assert exact_limits(0, 0) == (0, 1)
    found = differential({"neutrophil": 0, "monocyte": 0})
    assert found["monocyte"] == {"count": 0, "share": None, "low": 0, "high": 1}


def test_limits_hold_what_they_promise():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.3):
        held = [
            low <= share <= high
            for low, high in (exact_limits(n, 100) for n in rng.binomial(100, share, 2000))
        ]
        assert np.mean(held) > 0.945


def test_a_ratio_has_the_limits_of_a_share():
    found = ratio(10, 100)
    assert found["value"] == 0.1
    low, high = exact_limits(10, 110)
    assert (found["low"], found["high"]) == pytest.approx((low / (1 - low), high / (1 - high)))
    assert ratio(3, 0)["value"] is None


def test_rumkes_table_has_his_figures():
    """Rümke (1979): of 100 cells counted, 5 % may be 2 to 11 %, 20 % 13 to 29 %."""
    table = rumke_table()
    assert table.loc["5", "of 100"] == "2–11"
    assert table.loc["20", "of 100"] == "13–29"
    assert table.loc["0", "of 100"] == "0–4"
    assert table.loc["1", "of 200"] == "0–4"


def sampled(shares, n, rng, learnt):
    """Probabilities of a perfectly calibrated model that was trained at the shares `learnt`."""
    labels = rng.choice(len(shares), n, p=shares)
    signal = rng.normal(np.eye(len(shares))[labels], 0.6)
    likely = np.exp(-((signal[:, None] - np.eye(len(shares))) ** 2).sum(2) / (2 * 0.6**2))
    joint = likely * learnt
    return joint / joint.sum(1, keepdims=True), labels


def test_the_correction_takes_the_trainings_lean_away():
    rng = np.random.default_rng(1)
    shares, learnt = np.array([0.6, 0.3, 0.1]), np.array([1, 1, 1]) / 3
    probs, labels = sampled(shares, 3000, rng, learnt)
    true = np.bincount(labels, minlength=3) / 3000
    counted = np.bincount(probs.argmax(1), minlength=3) / 3000
    found = rebalanced(probs, learnt)
    assert np.abs(found["share"] - true).max() < 0.03
    assert np.abs(counted - true).max() > 2 * np.abs(found["share"] - true).max()
    assert (found["low"] < shares).all()
    assert (shares < found["high"]).all()
    assert found["share"].sum() == pytest.approx(1)


def test_the_corrections_limits_hold_what_they_promise_of_a_kind_that_is_rare():
    """Percentiles of resamples held a share of 1 % in a third of the smears."""
    rng = np.random.default_rng(2)
    shares, learnt = np.array([0.69, 0.3, 0.01]), np.array([1, 1, 1]) / 3
    held = []
    for _ in range(30):
        found = rebalanced(sampled(shares, 100, rng, learnt)[0], learnt)
        held.append((found["low"] <= shares) & (shares <= found["high"]))
    assert np.mean(held, axis=0).min() > 0.85


def test_a_kind_that_was_not_seen_has_limits_that_say_something():
    probs = np.repeat([[0.9, 0.1, 0.0]], 40, axis=0)
    probs[:6] = [0.2, 0.79, 0.01]
    found = rebalanced(probs, np.full(3, 1 / 3))
    assert found["high"][2] < 0.25


def test_a_balance_that_does_not_fit_is_refused():
    with pytest.raises(HematoVisionError, match="a share above 0 of each of 3 classes"):
        rebalanced(np.full((4, 3), 1 / 3), np.array([0.5, 0.5]))
    with pytest.raises(HematoVisionError, match="there is none"):
        rebalanced(np.zeros((0, 3)), np.full(3, 1 / 3))
