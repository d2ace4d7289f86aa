"""Paired comparisons: cells count once, differences are paired, verdicts follow their rules."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, recall_score

from hv_utils.ground.errors import HematoVisionError
from hv_utils.scores import paired

CLASSES = ["a", "b", "c"]


def table_of(labels, copies):
    """Return an image table in which cell i has label labels[i] and copies[i] images."""
    rows = [(f"{i:03d}", label) for i, (label, n) in enumerate(zip(labels, copies, strict=True))
            for _ in range(n)]  # fmt: skip
    return pd.DataFrame(rows, columns=["cell", "label"])


def held_out(labels, accuracy, *, seed=0, n_repeats=3):
    """Return a condition that judges each cell right with the given chance, one image a cell."""
    rng = np.random.default_rng(seed)
    index = np.array([CLASSES.index(label) for label in labels])
    shape = (n_repeats, len(labels))
    verdict = np.where(rng.random(shape) < accuracy, index, (index + 1) % 3)
    probs = np.eye(3)[verdict] * 0.8 + 0.2 / 3
    return paired.collect(table_of(labels, [1] * len(labels)), probs, CLASSES)


LABELS = ["a"] * 20 + ["b"] * 40 + ["c"] * 60


class TestCollect:
    def test_a_cell_counts_once_however_many_copies(self):
        labels, copies = ["a", "a", "b", "c"], [1, 50, 3, 2]
        table = table_of(labels, copies)
        right = np.eye(3)[[CLASSES.index(name) for name in table["label"]]]
        wrong = np.roll(right, 1, axis=1)
        probs = np.where((table["cell"] == "001").to_numpy()[:, None], wrong, right)
        held = paired.collect(table, probs[None], CLASSES)
        found = held.scores()
        assert [found[f"recall_{name}"][0] for name in CLASSES] == pytest.approx([0.5, 1, 1])

    def test_shares_and_losses_are_means_over_the_copies(self):
        table = table_of(["b"], [4])
        probs = np.array([[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4]])
        held = paired.collect(table, probs[None], CLASSES)
        assert held.shares[0, 0].tolist() == [0.25, 0.75, 0]
        assert held.losses[0, 0] == pytest.approx(-np.log([0.8, 0.2, 0.5, 0.5]).mean())

    def test_scores_are_those_of_scikit_learn_where_cells_have_one_image(self):
        held = held_out(LABELS, 0.7, n_repeats=1)
        found = held.scores()
        predicted = held.shares[0].argmax(1)
        assert found["macro_f1"][0] == pytest.approx(
            f1_score(held.labels, predicted, average="macro")
        )
        expected = recall_score(held.labels, predicted, average=None)
        assert [found[f"recall_{name}"][0] for name in CLASSES] == pytest.approx(list(expected))
        assert held.each_repeat() == pytest.approx(found["macro_f1"])


class TestGains:
    def judged(self, first, second, **options):
        conditions = {"with": first, "without": second}
        options = {"n_resamples": 500} | options
        table = paired.gains(conditions, {"gain": ("with", "without")}, **options)
        return table.set_index("score")

    def test_equal_conditions_decide_nothing(self):
        held = held_out(LABELS, 0.7)
        found = self.judged(held, held)
        assert (found[["value", "low", "high"]] == 0).all(axis=None)
        assert set(found["verdict"]) == {"undecided"}

    def test_a_clear_gain_is_confirmed_and_its_reverse_is_not(self):
        good, bad = held_out(LABELS, 0.9), held_out(LABELS, 0.5, seed=1)
        found, turned = self.judged(good, bad), self.judged(bad, good)
        assert found.loc["macro_f1", "verdict"] == "confirmed"
        assert turned.loc["macro_f1", "verdict"] == "not confirmed"
        assert turned.loc["macro_f1", "value"] == pytest.approx(-found.loc["macro_f1", "value"])

    def test_less_log_loss_is_better(self):
        found = self.judged(held_out(LABELS, 0.9), held_out(LABELS, 0.5, seed=1))
        assert found.loc["log_loss", "high"] < 0
        assert found.loc["log_loss", "verdict"] == "confirmed"

    def test_pairing_narrows_the_interval_of_what_is_shared(self):
        held = held_out(LABELS, 0.7)
        shares = held.shares.copy()
        shares[:, 3] = np.roll(shares[:, 3], 1, axis=1)  # one cell is judged otherwise
        other = paired.HeldOut(held.classes, held.labels, shares, held.losses)
        found = self.judged(held, other).loc["macro_f1"]
        alone = paired.compare({"x": held}, n_resamples=500).set_index("score").loc["macro_f1"]
        assert found["high"] - found["low"] < 0.5 * (alone["high"] - alone["low"])

    def test_the_interval_holds_the_value(self):
        held = held_out(LABELS, 0.7)
        table = paired.compare({"x": held}, n_resamples=500)
        assert table["value"].between(table["low"], table["high"]).all()
        assert list(table["score"]) == ["macro_f1", "recall_a", "recall_b", "recall_c", "log_loss"]


class TestSeeds:
    def test_interval_of_the_spread_holds_the_truth_as_often_as_it_says(self):
        draws = np.random.default_rng(0).normal(0.8, 0.03, (2000, 6))
        ends = [paired.seed_spread(row, level=0.9) for row in draws]
        inside = np.mean([end["low"] <= 0.03 <= end["high"] for end in ends])
        assert inside == pytest.approx(0.9, abs=0.02)

    def test_one_seed_has_no_spread(self):
        with pytest.raises(HematoVisionError, match="at least two seeds"):
            paired.seed_spread([0.8])
