"""Cells that disagree with their label: the rule, the thresholds, and planted errors."""

import numpy as np
import pandas as pd
import pytest
from test_audit import oof

from hv_utils.ground.errors import HematoVisionError
from hv_utils.studies import disagreements


class TestRule:
    def test_every_repeat_must_contradict(self):
        always = disagreements.judge_cells(oof([[0.4], [0.3], [0.1]]))
        once_right = disagreements.judge_cells(oof([[0.4], [0.6], [0.1]]))
        assert always["disagrees"].all()
        assert not once_right["disagrees"].any()
        assert once_right["n_repeats_wrong"].tolist() == [2]
        assert once_right["n_repeats"].tolist() == [3]

    def test_the_copies_of_a_cell_are_averaged(self):
        row = disagreements.judge_cells(oof([[0.9, 0.2, 0.2], [0.9, 0.2, 0.2]])).iloc[0]
        assert row["disagrees"]
        assert row["prob_label"] == pytest.approx(1.3 / 3)
        assert row["margin"] == pytest.approx((1.7 - 1.3) / 3)
        assert row["n_images"] == 3

    def test_ranked_by_the_strength_of_the_contradiction(self):
        parts = [oof([[p]]).assign(cell=str(i)) for i, p in enumerate((0.4, 0.05, 0.9))]
        found = disagreements.judge_cells(pd.concat(parts))
        assert found["cell"].tolist() == ["1", "0", "2"]
        assert found["suggested"].tolist() == ["b"] * 3

    def test_a_suggestion_is_confident_where_it_reaches_the_class_on_its_own_cells(self):
        own = [oof([[p]], label="b").assign(cell=f"b{i}") for i, p in enumerate((0.1, 0.3))]
        others = [oof([[p]]).assign(cell=f"a{p}") for p in (0.15, 0.25, 0.9)]
        found = disagreements.judge_cells(pd.concat(own + others)).set_index("cell")
        assert found.loc["a0.15", "confident"], "0.85 reaches the mean of 0.9 and 0.7"
        assert not found.loc["a0.25", "confident"]
        assert found.loc["a0.25", "disagrees"]

    def test_a_table_without_probabilities_is_refused(self):
        with pytest.raises(HematoVisionError, match="prob_"):
            disagreements.judge_cells(oof([[0.4]]).drop(columns=["prob_a", "prob_b"]))


@pytest.fixture(scope="module")
def separable():
    """Return an image table and features of three classes far apart, four copies a cell."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], [20, 12, 12])
    rows = [(f"{i}_{j}.png", label, f"{i:02d}") for i, label in enumerate(labels) for j in range(4)]
    table = pd.DataFrame(rows, columns=["path", "label", "cell"]).astype({"cell": "string"})
    index = table["label"].map("abc".find).to_numpy()
    return table, 3 * np.eye(6)[index] + 0.5 * rng.normal(size=(len(table), 6))


class TestPlanted:
    def test_plants_whole_cells_of_every_class(self, separable):
        table, _ = separable
        planted, answers = disagreements.plant_errors(table, share=0.2, seed=1)
        changed = planted["label"] != table["label"]
        assert set(table.loc[changed, "cell"]) == set(answers["cell"])
        assert changed.sum() == 4 * len(answers)
        assert answers["original"].value_counts().to_dict() == {"a": 4, "b": 2, "c": 2}
        assert (answers["original"] != answers["planted"]).all()
        assert (table["label"] == separable[0]["label"]).all(), "the table given stays as it is"

    def test_finds_them_where_the_features_tell_the_classes_apart(self, separable):
        judged = disagreements.find_planted(*separable, share=0.1, n_folds=4, seeds=(0, 1))
        summary = disagreements.planted_summary(judged)
        assert summary == {
            "planted": 4,
            "found": 4,
            "original_suggested": 4,
            "listed": 4,
            "untouched_listed": 0,
        }

    def test_finds_nothing_where_they_do_not(self, separable):
        table, features = separable
        noise = np.random.default_rng(1).normal(size=features.shape)
        judged = disagreements.find_planted(table, noise, share=0.1, n_folds=4, seeds=(0, 1))
        summary = disagreements.planted_summary(judged)
        assert summary["untouched_listed"] > summary["found"]

    @pytest.mark.parametrize("share", [0.0, 0.6])
    def test_refuses_a_share_out_of_range(self, separable, share):
        with pytest.raises(HematoVisionError, match="share of cells"):
            disagreements.plant_errors(separable[0], share=share)
