"""Strange cells are told of, usual ones are not, and a handful proves nothing."""

import json

import numpy as np
import pytest

from hv_utils.inference.familiarity import LEVEL, Familiarity, Strangers, alarm


def at_home(rng, n):
    """Draw cells of two classes, the second lying further out by nature."""
    labels = rng.integers(0, 2, n)
    return rng.normal(1 + labels, 0.1), labels


def test_at_home_one_in_ten_is_below_a_tenth_whatever_the_shares():
    rng = np.random.default_rng(0)
    usual = Familiarity.fit(*at_home(rng, 2000), n_classes=2)
    distances = rng.normal(2, 0.1, 5000)  # the second class alone
    p_values = usual.p_values(distances, np.ones(5000, int))
    assert (p_values <= 0.1).mean() == pytest.approx(0.1, abs=0.02)
    assert p_values.min() > 0
    assert p_values.max() <= 1


def test_false_alarms_are_rare_and_another_laboratory_is_noticed():
    rng, alarms = np.random.default_rng(1), []
    for _ in range(300):
        usual = Familiarity.fit(*at_home(rng, 800), n_classes=2)
        alarms.append(bool(alarm(Strangers.among(usual.p_values(*at_home(rng, 60))))))
        distances, labels = at_home(rng, 60)
        assert "label some cells and run hv adapt" in alarm(
            Strangers.among(usual.p_values(distances + 0.2, labels))
        )
    assert np.mean(alarms) <= 10 * LEVEL


def test_a_handful_of_strange_cells_sets_off_nothing():
    assert alarm(Strangers.among([])) == ""
    assert alarm(Strangers.among([0.001] * 19)) == ""
    assert alarm(Strangers.among([0.001] * 20)).startswith(
        "20 of these 20 cells are stranger than nine in ten"
    )


def test_a_class_without_calibration_cells_is_never_strange():
    usual = Familiarity.fit(np.array([1.0, 2.0]), np.array([0, 0]), 2)
    assert usual.p_values(np.array([9.0, 9.0]), np.array([0, 1])).tolist() == [1 / 3, 1]


def test_they_come_back_as_they_were_stored():
    usual = Familiarity.fit(*at_home(np.random.default_rng(2), 30), n_classes=2)
    again = Familiarity.from_facts(json.loads(json.dumps(usual.facts("ab"))), "ab")
    for ours, theirs in zip(again.scores, usual.scores, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert Familiarity.from_facts(None, "ab") is None
