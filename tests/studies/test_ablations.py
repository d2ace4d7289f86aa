"""Ablations: what each condition may see, the cells it is scored on, the features it takes."""

import numpy as np
import pandas as pd
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from hv_utils.network.settings import HeadTraining
from hv_utils.studies import ablations
from hv_utils.studies.probes import FEATURES

CLASSES = ["common", "middle", "rare"]
CELLS = {"common": 24, "middle": 10, "rare": 6}
D = 12


@pytest.fixture(scope="module")
def copies():
    """Return balanced copies of imbalanced cells with features, cells well apart from copies."""
    rng = np.random.default_rng(0)
    rows, features = [], []
    for k, (label, n) in enumerate(CELLS.items()):
        centres = rng.normal(size=(n, D)) + 1.2 * np.eye(D)[k]
        for i in range(n):
            for j in range(48 // n):
                cell = f"{label}{i}"
                split = "val" if i % 4 == 0 else "train"
                rows.append((f"{cell}_{j}.png", label, split, cell, cell))
                features.append(centres[i] + 0.3 * rng.normal(size=D))
    table = pd.DataFrame(rows, columns=["path", "label", "split", "cell", "group"])
    return table, np.array(features, np.float32)


class TestCells:
    def test_takes_training_and_validation_cells_that_are_known(self, copies):
        table = copies[0].copy()
        table.loc[0, "cell"] = pd.NA
        table.loc[1, "split"] = "test"
        rows, reason = ablations.usable_cells(table)
        assert reason == ""
        assert len(rows) == len(table) - 2
        assert list(rows.index) == list(range(len(rows)))

    def test_says_why_it_cannot(self, copies):
        table = copies[0]
        assert "not known" in ablations.usable_cells(table.assign(cell=pd.NA))[1]
        few = table[(table["label"] != "rare") | table["cell"].isin(["rare0", "rare1"])]
        assert ablations.usable_cells(few)[1].startswith("rare has 2 source photos")


class TestDraws:
    def test_even_copies_keep_the_shares_of_the_photos(self, copies):
        table, _ = copies
        rows = ablations.even_copies(table, 2, seed=0)
        assert len(set(rows)) == len(rows)
        drawn = table.iloc[rows]
        assert (drawn["cell"].value_counts() == 2).all()
        assert drawn["label"].value_counts().to_dict() == {k: 2 * n for k, n in CELLS.items()}

    def test_even_copies_take_what_the_scarcest_cell_has(self, copies):
        table, _ = copies
        rows = ablations.even_copies(table, 99, seed=0)
        assert (table.iloc[rows]["cell"].value_counts() == 2).all()

    def test_balanced_copies_are_even_within_a_class(self, copies):
        table, _ = copies
        drawn = table.iloc[ablations.balanced_copies(table, 60, seed=0)]
        assert drawn["label"].value_counts().to_dict() == dict.fromkeys(CELLS, 20)
        spread = drawn.groupby("label")["cell"].apply(lambda c: np.ptp(c.value_counts()))
        assert spread.max() <= 1
        assert drawn.loc[drawn["label"] == "rare", "cell"].nunique() == 6

    def test_balanced_copies_repeat_where_a_class_has_too_few(self, copies):
        table, _ = copies
        few = table[(table["label"] != "rare") | (table["cell"] == "rare0")].reset_index(drop=True)
        drawn = few.iloc[ablations.balanced_copies(few, 60, seed=0)]
        assert drawn["label"].value_counts()["rare"] == 20

    def test_seed_decides(self, copies):
        table, _ = copies
        first = ablations.balanced_copies(table, 30, seed=1)
        assert np.array_equal(first, ablations.balanced_copies(table, 30, seed=1))
        assert not np.array_equal(first, ablations.balanced_copies(table, 30, seed=2))


class TestImbalance:
    @pytest.fixture(scope="class")
    def found(self, copies):
        options = {"n_repeats": 2, "n_folds": 3, "copies": 2, "seed": 0}
        return ablations.imbalance(*copies, CLASSES, **options)

    def test_every_cell_is_scored_in_every_repeat(self, found):
        for held in found.values():
            assert held.shares.shape == (2, 40, 3)
            assert np.allclose(held.shares.sum(2), 1)
            assert np.isfinite(held.losses).all()

    def test_weights_and_copies_find_more_of_the_rare(self, found):
        rare = {k: held.shares[:, held.labels == 2, 2].mean() for k, held in found.items()}
        assert rare["plain"] < min(rare["weighted"], rare["augmented"])

    def test_no_cell_is_learnt_from_and_scored(self, copies):
        table, _ = copies
        for _, _, fit, score in ablations.folds_of(table, 2, 3, 0):
            assert not set(table["group"].iloc[fit]) & set(table["group"].iloc[score])
            assert len(fit) + len(score) == len(table)


def test_head_conditions_read_one_training_at_both_ends(copies):
    table, features = copies
    held, trainings = ablations.head_conditions(
        table,
        features,
        CLASSES,
        HeadTraining(learning_rate=1e-3, epochs=12, patience=2),
        dropouts=(0.0, 0.5),
        n_repeats=1,
        n_folds=3,
        images=60,
    )
    assert set(held) == {(rate, stop) for rate in (0.0, 0.5) for stop in (False, True)}
    assert all(np.allclose(found.shares.sum(2), 1) for found in held.values())
    assert len(trainings) == 3 * 2 * 2  # folds, dropouts, ends
    ran = trainings.set_index("early_stopping")["epochs"]
    assert (ran[False] == 12).all()
    assert (ran[True] <= 12).all()
    ends = trainings.groupby(["dropout", "early_stopping"])["train_loss"].mean()
    assert ends[0.0, False] <= ends[0.0, True]


def test_seed_scores_differ_by_seed_alone(copies):
    table, features = copies
    training = HeadTraining(learning_rate=1e-3, epochs=40, patience=40)
    options = {"dropout": 0.3, "images": 60, "n_seeds": 3}
    scores = ablations.seed_scores(table, features, CLASSES, training, **options)
    assert scores.shape == (3,)
    assert ((scores > 0) & (scores <= 1)).all()
    shuffled = table.assign(label=np.roll(table["label"], 60))
    worse = ablations.seed_scores(shuffled, features, CLASSES, training, **options)
    assert worse.mean() < scores.mean()


class TestHistory:
    def history(self, scores, phase="fine-tuning"):
        return pd.DataFrame({"phase": phase, "val_loss": 1.0, "val_macro_f1": scores})

    def test_largest_drop(self):
        rows = self.history([0.7, 0.65, 0.8, 0.79])
        assert ablations.largest_drop(rows) == pytest.approx(0.05)

    def test_the_step_into_fine_tuning_counts_from_the_head_that_was_kept(self):
        head = self.history([0.95, 0.9, 0.2], "head").assign(val_loss=[2.0, 1.0, 3.0])
        rows = pd.concat([head, self.history([0.7, 0.65])], ignore_index=True)
        assert ablations.largest_drop(rows) == pytest.approx(0.2)
        assert np.isnan(ablations.largest_drop(head)), "no fine-tuning, nothing to judge"

    def test_a_rising_score_drops_by_nothing(self):
        assert ablations.largest_drop(self.history([0.6, 0.7, 0.8])) == 0

    def test_one_epoch_says_nothing(self):
        assert np.isnan(ablations.largest_drop(self.history([0.6])))


class TestFeatures:
    def test_rows_follow_the_table_and_leave_out_what_has_none(self, copies, tmp_path):
        table, features = copies
        run = Run.open(tmp_path)
        order = np.random.default_rng(0).permutation(len(table))[:-3]
        path = table["path"].to_numpy(str)[order]
        np.savez(run.path(FEATURES), features=features[order].astype(np.float16), path=path)
        rows, found = ablations.kept_features(run, table)
        assert len(rows) == len(table) - 3
        wanted = features[table["path"].isin(rows["path"]).to_numpy()]
        assert found == pytest.approx(wanted, abs=0.01)
        assert found.dtype == np.float32

    def test_needs_the_leak_notebook(self, copies, tmp_path):
        with pytest.raises(HematoVisionError, match="07_leak"):
            ablations.kept_features(Run.open(tmp_path), copies[0])

    def test_refuses_features_of_other_images(self, copies, tmp_path):
        run = Run.open(tmp_path)
        np.savez(run.path(FEATURES), features=np.zeros((2, D)), path=["x.png", "y.png"])
        with pytest.raises(HematoVisionError, match="those of others"):
            ablations.kept_features(run, copies[0])


def test_two_folds_are_raised_to_three():
    """With two, a class of five cells may have too few left to learn from and to stop by."""
    labels = np.repeat(["a", "b"], [5, 8])
    table = pd.DataFrame({"label": labels, "cell": [f"{i}" for i in range(13)]})
    assert len(list(ablations.folds_of(table, 1, 2, 0))) == 3
