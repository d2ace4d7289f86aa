"""Separation is scikit-learn's where nothing is grouped, and its interval knows of groups."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from hv_utils.ground.errors import HematoVisionError
from hv_utils.scores.separation import separation


def both(seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=200).round(1), (rng.normal(size=150) + shift).round(1)


def test_the_values_are_those_of_scikit_learn():
    known, strange = both()
    found = separation(known, strange, n_resamples=100)
    truth = np.repeat([0, 1], [len(known), len(strange)])
    scores = np.concatenate([known, strange])
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(truth, scores))
    # What is known counts as positive: 95 % of it pass, and of the strange as many as may be.
    wrong, right, _ = roc_curve(1 - truth, -scores, drop_intermediate=False)
    assert found["fpr95"]["value"] == pytest.approx(wrong[right >= 0.95].min())


def test_the_interval_holds_the_value_and_widens_with_groups():
    known, strange = both()
    alone = separation(known, strange, n_resamples=300)
    copies = np.repeat(known[:20], 10), np.repeat(strange[:15], 10)
    cells = np.repeat(np.arange(20), 10), np.repeat(np.arange(15), 10)
    grouped = separation(*copies, known_cells=cells[0], strange_cells=cells[1], n_resamples=300)
    for one in (alone, grouped):
        for name in ("auroc", "fpr95"):
            assert one[name]["low"] <= one[name]["value"] <= one[name]["high"]

    def width(one):
        return one["auroc"]["high"] - one["auroc"]["low"]

    assert width(grouped) > 2 * width(alone)


def test_alike_is_a_half_and_infinite_is_found():
    same = np.arange(100.0)
    assert separation(same, same, n_resamples=100)["auroc"]["value"] == pytest.approx(0.5)
    apart = separation(same, np.full(9, np.inf), n_resamples=100)
    assert apart["auroc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert apart["fpr95"]["value"] == 0


@pytest.mark.parametrize(("known", "strange"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_an_empty_side_and_no_number_are_refused(known, strange):
    with pytest.raises(HematoVisionError, match="on both sides"):
        separation(np.array(known), np.array(strange))
