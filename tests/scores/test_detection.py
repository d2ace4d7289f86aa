"""Found boxes against true ones: each true box once, the surest find first."""

import numpy as np
import pytest

from hv_utils.scores.detection import average_precision, detection_scores, match, overlaps

TRUE = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], float)


def test_overlap_is_shared_area_over_joint_area():
    found = overlaps(TRUE[:1], np.array([[0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]], float))
    assert found[0] == pytest.approx([1, 1 / 3, 0])


def test_a_true_box_is_found_once_by_the_surest():
    finds = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], float)
    one = match(finds, np.array([0.5, 0.9, 0.8, 0.3]), TRUE)
    assert one.scores.tolist() == [0.9, 0.8, 0.5, 0.3]
    assert one.right.tolist() == [True, True, False, False]
    assert one.n_true == 2
    assert match(finds, np.ones(4), np.zeros((0, 4))).right.sum() == 0


def test_average_precision_of_a_worked_example():
    """Right, wrong, right of three true ones: (1 + 2/3) / 3."""
    one = match(np.zeros((0, 4)), np.zeros(0), TRUE[:1])
    two = match(np.array([TRUE[0], [90, 90, 99, 99], TRUE[1]]), np.array([0.9, 0.8, 0.7]), TRUE)
    assert average_precision([one, two]) == pytest.approx((1 + 2 / 3) / 3)
    assert np.isnan(average_precision([match(TRUE, np.ones(2), np.zeros((0, 4)))]))


def test_scores_count_finds_above_the_threshold_alone():
    fields = [match(TRUE, np.array([0.9, 0.2]), TRUE) for _ in range(8)]
    scores = detection_scores(fields, 0.5)
    assert scores["recall"]["value"] == 0.5
    assert scores["false_a_field"]["value"] == 0
    assert scores["count_error"]["value"] == -0.5
    assert scores["average_precision"]["value"] == 1
    assert scores["recall"]["low"] == scores["recall"]["high"] == 0.5, "all fields are alike"
