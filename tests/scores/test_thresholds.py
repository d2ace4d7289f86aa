import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.scores.thresholds import choose_threshold


def table(confidences, right):
    """Return labels and probabilities of two classes with these confidences."""
    confidences = np.asarray(confidences, float)
    probs = np.stack([confidences, 1 - confidences], axis=1)
    return np.where(right, 0, 1), probs


def test_the_lowest_threshold_that_reaches_the_target():
    confidences = np.linspace(0.99, 0.55, 45)
    right = np.arange(45) < 40
    right[10] = False
    found = choose_threshold(*table(confidences, right), target=0.95)
    answered = confidences >= found.unsure_below
    assert found.reached
    assert right[answered].mean() == found.accuracy >= 0.95
    assert answered.mean() == found.coverage
    lower = confidences >= confidences[answered.sum()]
    assert right[lower].mean() < 0.95, "one image more would miss the target"


def test_where_all_is_well_nothing_is_unsure():
    found = choose_threshold(*table(np.full(30, 0.6), np.ones(30, bool)))
    assert (found.unsure_below, found.coverage, found.accuracy) == (0, 1, 1)


def test_out_of_reach_the_surer_half_is_answered():
    confidences = np.linspace(0.99, 0.51, 100)
    found = choose_threshold(*table(confidences, np.arange(100) % 2 == 0), target=0.9)
    assert not found.reached
    assert found.coverage == 0.5
    assert found.accuracy == 0.5


def test_with_few_images_the_surer_half_is_answered_too():
    found = choose_threshold(*table(np.linspace(0.9, 0.5, 12), np.arange(12) < 6), target=0.95)
    assert not found.reached, "six images prove nothing"
    assert found.coverage == 0.5


def test_equal_confidences_are_not_told_apart():
    right = np.r_[np.ones(30, bool), np.zeros(10, bool)]
    found = choose_threshold(*table(np.r_[np.full(25, 0.9), np.full(15, 0.7)], right), target=0.99)
    assert found.coverage == 25 / 40
    assert 0.7 < found.unsure_below < 0.9


def test_a_handful_of_lucky_verdicts_is_no_proof():
    right = np.r_[np.ones(5, bool), np.zeros(45, bool)]
    found = choose_threshold(*table(np.linspace(0.99, 0.5, 50), right), target=0.95)
    assert not found.reached


def test_some_share_is_answered_whatever_the_target():
    """Sixty right, then every second: 95 % can be had for 65 or so, but nine in ten are wanted."""
    right = np.r_[np.ones(60, bool), np.arange(40) % 2 == 0]
    given = table(np.linspace(0.99, 0.51, 100), right)
    assert choose_threshold(*given, least_answered=0).coverage < 0.75
    found = choose_threshold(*given, least_answered=0.9)
    assert (found.coverage, found.reached) == (0.9, False)
    assert choose_threshold(*given, least_answered=1).unsure_below == 0


def test_nothing_to_choose_on():
    with pytest.raises(HematoVisionError, match="validation images"):
        choose_threshold(np.zeros(0, int), np.zeros((0, 2)))
    with pytest.raises(HematoVisionError, match="target"):
        choose_threshold(*table([0.9], [True]), target=95)
    with pytest.raises(HematoVisionError, match=r"0\.8 answers four of five"):
        choose_threshold(*table([0.9], [True]), least_answered=80)
