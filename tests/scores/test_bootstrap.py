"""The one cluster bootstrap: against SciPy's, by blocks, and what it refuses."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.predictions import to_predictions
from hv_utils.scores import bootstrap
from hv_utils.scores.bootstrap import cluster_codes, in_words, mean_interval, percentiles, resample
from hv_utils.scores.intervals import bootstrap_interval, leave_one_cell_out


def judged(n_cells=40, copies=6, seed=0):
    """Return predictions in which the copies of a cell are judged alike."""
    rng = np.random.default_rng(seed)
    labels, cells = (np.repeat(x, copies) for x in (np.arange(n_cells) % 3, np.arange(n_cells)))
    verdicts = np.where(rng.random(n_cells)[cells] < 0.75, labels, (labels + 1) % 3)
    images = pd.DataFrame({"path": "", "label": np.array(list("abc"))[labels], "cell": cells})
    return to_predictions(images, np.eye(3)[verdicts] * 0.8 + 0.2 / 3, list("abc"))


def test_intervals_are_those_of_scipy_over_clusters():
    table = judged()
    true, predicted = (pd.get_dummies(table[name]) for name in ("label", "predicted"))
    parts = [part.groupby(table["cell"]).sum() for part in (true & predicted, true, predicted)]
    sums = pd.concat(parts, axis=1).to_numpy().T

    def macro_f1(*sums, axis):
        hits, true, predicted = np.reshape([part.sum(axis) for part in sums], (3, 3, -1))
        return np.squeeze((2 * hits / (true + predicted)).mean(0))

    options = {"paired": True, "method": "percentile", "n_resamples": 9999, "rng": 0}
    ends = stats.bootstrap(sums, macro_f1, **options).confidence_interval
    options = {"n_resamples": 9999}
    found = bootstrap_interval(table, **options)["macro_f1"]
    assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high), abs=0.01)


def test_the_interval_of_a_mean_is_that_of_scipy_over_clusters():
    rng = np.random.default_rng(1)
    cells = np.repeat(np.arange(50), rng.integers(1, 9, 50))
    values = rng.normal(0.4, 0.1, 50)[cells] + rng.normal(0, 0.05, len(cells))
    sums, counts = np.bincount(cells, values), np.bincount(cells)

    def mean(sums, counts, axis):
        return sums.sum(axis) / counts.sum(axis)

    options = {"paired": True, "method": "percentile", "n_resamples": 20_000, "rng": 0}
    ends = stats.bootstrap((sums, counts), mean, **options).confidence_interval
    found = mean_interval([*values, np.nan], [*cells, 0], n_resamples=20_000)
    assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high), abs=0.001)


def test_means_resample_cells():
    values, cells = np.repeat([0.0, 1.0, 0.0, 1.0], 25), np.repeat(list("abcd"), 25)
    wide, narrow = mean_interval(values, cells), mean_interval(values, [None] * 100)
    assert (wide["low"], wide["high"]) == pytest.approx((0, 1), abs=0.26)
    assert narrow["high"] - narrow["low"] == pytest.approx(2 * 1.96 * 0.05, abs=0.04)
    assert mean_interval([np.nan], ["a"]) == {"low": None, "high": None}


@pytest.mark.parametrize("sizes", [(30,), (4, 30)])
def test_blocks_change_no_weight(monkeypatch, sizes):
    def weights(*drawn):
        return dict(enumerate(drawn))

    whole = resample(weights, *sizes, n_resamples=150, seed=3)
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    blocks = resample(weights, *sizes, n_resamples=150, seed=3)
    for number, size in enumerate(sizes):
        assert (whole[number] == blocks[number]).all()
        assert (whole[number].sum(1) == size).all()
        assert len(np.unique(whole[number], axis=0)) > 20


def test_memory_does_not_grow_with_resamples_times_cells():
    """20,000 cells: 1,000 weights of each would take 160 MB, all pairs of cells 3,200."""
    table = judged(n_cells=20_000, copies=1)
    tracemalloc.start()
    resample(lambda weights: {"most": weights.max(1)}, 20_000, n_resamples=1000)
    leave_one_cell_out(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6


def test_images_without_a_cell_are_clusters_of_their_own():
    codes, n_clusters = cluster_codes(["x", None, "x", pd.NA, "y"])
    assert (codes.tolist(), n_clusters) == ([0, 2, 0, 3, 1], 4)


def test_what_is_not_defined_is_left_out():
    assert percentiles(np.array([np.nan, 0.2, 0.2])) == {"low": 0.2, "high": 0.2}
    assert percentiles(np.array([np.nan])) == {"low": None, "high": None}


@pytest.mark.parametrize("level", [1.0, 95])
def test_silly_options_are_refused(level):
    with pytest.raises(HematoVisionError, match="level between 0 and 1"):
        percentiles(np.zeros(5), level=level)
    with pytest.raises(HematoVisionError, match="at least 100 resamples"):
        resample(lambda weights: {"n": weights}, 5, n_resamples=10)


def test_a_score_in_words():
    score = {"value": 0.8123, "low": 0.7, "high": 0.9}
    assert in_words(score) == "0.812 (0.700 to 0.900)"
    assert in_words(score, signed=True) == "+0.812 (+0.700 to +0.900)"
    assert in_words({"macro_f1": 1, "low": None, "high": None}, key="macro_f1") == "1.000"
