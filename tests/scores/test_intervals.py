import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from hv_utils.ground.predictions import prob_columns
from hv_utils.scores.bootstrap import percentiles, resample
from hv_utils.scores.intervals import (
    bootstrap_interval,
    confusion_by_cell,
    leave_one_cell_out,
    ranking_scores,
    resampled_scores,
    scores_from_confusion,
)

CLASSES = ["a", "b", "c"]


def sample(n_cells=30, copies=8, seed=0, k=3):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_cells) % k, copies)
    logits = rng.normal(size=(len(labels), k)).round(1)  # rounded: ties in the ranking
    logits[np.arange(len(labels)), labels] += np.repeat(rng.normal(1, 1, n_cells), copies).round(1)
    probs = np.exp(logits)
    return labels, probs / probs.sum(1, keepdims=True), np.repeat(np.arange(n_cells), copies)


def table_of(labels, probs, cells=None):
    """Return the table of predictions behind the arrays of `sample`."""
    table = pd.DataFrame(probs, columns=prob_columns(CLASSES)).assign(cell=cells)
    return table.assign(label=np.array(CLASSES)[labels])


def test_weighted_scores_are_those_of_scikit_learn():
    labels, probs, codes = sample()
    weights = np.random.default_rng(1).integers(0, 4, (3, 30))
    found = resampled_scores(labels, probs, codes, weights)
    for r, weight in enumerate(weights[:, codes]):
        options = {"sample_weight": weight, "average": "macro"}
        predicted = probs.argmax(1)
        assert found["accuracy"][r] == pytest.approx(
            sk.accuracy_score(labels, predicted, sample_weight=weight)
        )
        for name in ("precision", "recall", "f1"):
            expected = getattr(sk, f"{name}_score")(labels, predicted, **options)
            assert found[f"macro_{name}"][r] == pytest.approx(expected)
        areas = [sk.roc_auc_score(labels == j, probs[:, j], sample_weight=weight) for j in range(3)]
        averages = [
            sk.average_precision_score(labels == j, probs[:, j], sample_weight=weight)
            for j in range(3)
        ]
        assert found["roc_auc"][r] == pytest.approx(np.mean(areas))
        assert found["average_precision"][r] == pytest.approx(np.mean(averages))


def test_a_class_without_true_images_is_nan_and_out_of_the_mean():
    scores = scores_from_confusion([[4, 1, 0], [0, 5, 0], [0, 0, 0]])
    assert np.isnan(scores["f1"][2])
    assert scores["macro_recall"] == pytest.approx((0.8 + 1) / 2)


def test_a_class_never_predicted_has_precision_zero():
    assert scores_from_confusion([[0, 3], [0, 3]])["precision"].tolist() == [0, 0.5]


def test_ranking_without_positives_is_nan():
    area, _ = ranking_scores(np.zeros(3, bool), np.arange(3.0), np.ones((1, 3)))
    assert np.isnan(area[0])


def test_resampling_cells_gives_wider_intervals_than_resampling_images():
    labels, probs, cells = sample(copies=20)
    by_cell = bootstrap_interval(table_of(labels, probs, cells), n_resamples=500)
    by_image = bootstrap_interval(table_of(labels, probs), n_resamples=500)
    for name in ("accuracy", "macro_f1", "roc_auc"):
        width = {
            k: v[name]["high"] - v[name]["low"] for k, v in {"c": by_cell, "i": by_image}.items()
        }
        assert width["c"] > 1.5 * width["i"]
    assert by_cell["macro_f1"]["method"] == "cluster bootstrap over cells"
    assert by_image["macro_f1"]["method"] == "bootstrap over images"


def test_cells_of_one_image_give_the_interval_of_images():
    labels, probs, _ = sample()
    names = [f"{i:04d}" for i in range(len(labels))]
    one = bootstrap_interval(table_of(labels, probs, names), n_resamples=200)
    two = bootstrap_interval(table_of(labels, probs), n_resamples=200)
    assert one["macro_f1"]["low"] == two["macro_f1"]["low"]


def test_seed_and_level_do_what_they_say():
    table, run = table_of(*sample()), {"n_resamples": 300}
    first = bootstrap_interval(table, seed=1, **run)["accuracy"]
    assert first == bootstrap_interval(table, seed=1, **run)["accuracy"]
    assert first != bootstrap_interval(table, seed=2, **run)["accuracy"]
    narrow = bootstrap_interval(table, seed=1, level=0.5, **run)["accuracy"]
    assert first["low"] < narrow["low"] <= narrow["high"] < first["high"]


def test_two_thousand_resamples_of_the_real_size_take_seconds():
    table = table_of(*sample(n_cells=71, copies=35, k=3))
    start = time.process_time()
    bootstrap_interval(table, n_resamples=2000)
    assert time.process_time() - start < 6


def test_intervals_cover_the_truth_about_as_often_as_the_page_says():
    """Simulate the test split: 13, 6, 4 and 48 cells, balanced copies, 87 % of each class right."""
    rng = np.random.default_rng(0)
    counts, k, accuracy, rounds = (13, 6, 4, 48), 4, 0.87, 400
    truth = np.full((k, k), (1 - accuracy) / 3)
    np.fill_diagonal(truth, accuracy)
    target = scores_from_confusion(truth)["macro_f1"]
    labels = np.repeat(np.arange(k), 144)
    cells = np.concatenate([np.arange(144) % n + 100 * j for j, n in enumerate(counts)])
    _, codes = np.unique(cells, return_inverse=True)
    hits = 0
    for seed in range(rounds):
        skill = rng.beta(accuracy, 1 - accuracy, codes.max() + 1)[codes]
        wrong = (labels + rng.integers(1, k, len(labels))) % k
        predicted = np.where(rng.random(len(labels)) < skill, labels, wrong)
        counts = confusion_by_cell(labels, np.eye(k)[predicted], codes, codes.max() + 1)
        values = resample(
            lambda weights, counts=counts: scores_from_confusion(np.tensordot(weights, counts, 1)),
            len(counts),
            n_resamples=300,
            seed=seed,
        )
        low, high = percentiles(values["macro_f1"]).values()
        hits += low <= target <= high
    assert 0.86 <= hits / rounds <= 0.95


def test_leaving_out_a_bad_cell_raises_the_score():
    labels, probs, cells = sample()
    probs[cells == 7] = np.roll(np.eye(3)[labels[cells == 7]], 1, axis=1) * 0.9 + 0.1 / 3
    names = np.array([f"cell {i:02d}" for i in cells])
    table = leave_one_cell_out(table_of(labels, probs, names))
    assert len(table) == 30
    assert table["change"].abs().is_monotonic_decreasing
    bad = table[table["cell"] == "cell 07"].iloc[0]
    assert bad["change"] > 0
    assert bad["share_right"] == 0
    keep = cells != 7
    expected = sk.f1_score(labels[keep], probs[keep].argmax(1), average="macro")
    assert bad["macro_f1"] == pytest.approx(expected)


def test_where_groups_are_all_that_is_known_they_are_resampled():
    labels, probs, codes = sample()
    cells = table_of(labels, probs, [f"c{code}" for code in codes])
    groups = table_of(labels, probs).assign(group=cells["cell"])
    by_cell, by_group = (bootstrap_interval(table)["macro_f1"] for table in (cells, groups))
    assert by_group == by_cell | {"method": "cluster bootstrap over groups"}
    assert by_group["n_clusters"] == 30
