import numpy as np
import pandas as pd
import pytest

from hv_utils.data.splits import limit_copies
from hv_utils.ground.errors import HematoVisionError
from hv_utils.studies import leak
from hv_utils.studies.leak_scores import macro_f1

PHOTOS = {"eosinophil": 10, "lymphocyte": 6, "neutrophil": 14}


def copies_of_cells(per_class=60, photos=PHOTOS, seed=0, spread=3.0):
    """Copies that resemble their cell far more than their class, named as in the real set."""
    rng = np.random.default_rng(seed)
    rows, features = [], []
    for k, (label, count) in enumerate(photos.items()):
        centre = rng.normal(size=60)
        cells = centre + rng.normal(0, spread, (count, 60))
        for i in range(per_class):
            j = int(rng.integers(count))
            split = "test" if j < 2 else "train"
            rows.append((f"x/{label}/_{i // count}_{i}.jpeg", label, split, f"{100 * k + j:05d}"))
            features.append(cells[j] + rng.normal(0, 0.3, 60))
    table = pd.DataFrame(rows, columns=["path", "label", "split", "cell"])
    table = table.astype({"cell": "string"}).assign(source="demo")
    table["group"] = table["cell"]
    return table, np.asarray(features, np.float32)


def test_usable_rows_leave_twins_and_images_of_nowhere_out():
    table, _ = copies_of_cells()
    table.loc[:5, "split"] = ["simple", "unplaced", "val", "test", "train", "unplaced"]
    table.loc[1, ["cell", "group"]] = pd.NA
    rows = leak.usable_rows(table)
    assert list(rows["path"]) == list(table["path"].drop([0, 1]))
    assert list(rows["part"][:4]) == ["TRAIN", "TEST", "TRAIN", "ASIDE"]
    assert list(rows.index) == list(range(len(rows)))


def test_images_set_aside_are_neither_trained_on_nor_tested():
    table, features = copies_of_cells()
    table.loc[table["cell"] == "00005", "split"] = "unplaced"
    rows = leak.usable_rows(table)
    judged, _ = leak.compare_schemes(rows, features, n_folds=3, seed=0)
    seen = pd.concat(judged.values())
    assert "00005" not in set(seen["cell"])
    assert set(rows["cell"]) - set(seen["cell"]) == {"00005"}
    moved = features.copy()
    moved[(rows["part"] == "ASIDE").to_numpy()] += 100
    again, _ = leak.compare_schemes(rows, moved, n_folds=3, seed=0)
    assert again["test"].equals(judged["test"])


def test_few_images_keep_every_cell_and_the_shares():
    table, _ = copies_of_cells()
    rows = leak.usable_rows(table, max_images=90, seed=1)
    assert abs(len(rows) - 90) <= 3
    assert rows["cell"].nunique() == table["cell"].nunique()
    counts = rows.groupby("label").size()
    assert counts.max() - counts.min() <= 2
    assert leak.usable_rows(table, max_images=90, seed=1).equals(rows)
    assert not leak.usable_rows(table, max_images=90, seed=2)["path"].equals(rows["path"])
    assert len(leak.usable_rows(table, max_images=10_000)) == len(table)


def test_the_number_in_the_name():
    names = ["a/_12_3456.jpeg", "b_7_1.png", "cell.png", "_5.jpeg"]
    found = leak.name_prefix(names)
    assert list(found.fillna("none")) == ["12", "7", "none", "none"]


def test_each_scheme_keeps_together_what_it_says():
    table, _ = copies_of_cells()
    table = table.assign(number=leak.name_prefix(table["path"]))
    split_cells = {}
    for scheme in ("random", "prefix", "source"):
        folds = leak.scheme_folds(table, scheme, n_folds=5, seed=0)
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(table)))
        for train, test in folds:
            assert not set(train) & set(test)
            shared = {
                column: set(table[column].iloc[train]) & set(table[column].iloc[test])
                for column in ("cell", "number")
            }
            split_cells[scheme] = len(shared["cell"])
            assert scheme != "prefix" or not shared["number"]
        again = leak.scheme_folds(table, scheme, n_folds=5, seed=0)
        assert all((a[1] == b[1]).all() for a, b in zip(folds, again, strict=True))
    assert split_cells["source"] == 0
    assert min(split_cells["random"], split_cells["prefix"]) > 10, "cells are torn apart"


def test_schemes_refuse_what_they_cannot_do():
    table, _ = copies_of_cells()
    unknown = table.assign(cell=pd.NA, group=pd.NA)
    with pytest.raises(HematoVisionError, match="known source photo"):
        leak.scheme_folds(unknown, "source", n_folds=5, seed=0)
    renamed = table.assign(path=[f"{i}.png" for i in range(len(table))])
    with pytest.raises(HematoVisionError, match="file names such as"):
        leak.scheme_folds(renamed, "prefix", n_folds=5, seed=0)
    with pytest.raises(HematoVisionError, match="choose fewer folds"):
        leak.scheme_folds(table, "random", n_folds=61, seed=0)
    with pytest.raises(HematoVisionError, match="check its name"):
        leak.scheme_folds(table, "date", n_folds=5, seed=0)


def test_no_more_folds_than_photos():
    table, _ = copies_of_cells()
    assert leak.most_folds(table, 5) == 5
    assert leak.most_folds(table, 9) == 6
    assert leak.most_folds(table[table["cell"] < "00201"], 9) == 2


def test_the_leak_shows():
    table, features = copies_of_cells()
    rows = leak.usable_rows(table)
    judged, left_out = leak.compare_schemes(rows, features, n_folds=4, seed=0)
    assert left_out == {}
    assert list(judged) == ["random", "prefix", "source", "test"]
    score = {name: macro_f1(found) for name, found in judged.items()}
    assert score["random"] > 0.95
    assert score["prefix"] > 0.95
    assert score["source"] < 0.75
    assert list(judged["random"]["path"]) == list(rows.loc[rows["part"] == "TRAIN", "path"])
    assert list(judged["test"]["path"]) == list(rows.loc[rows["part"] == "TEST", "path"])
    wanted = ["path", "label", "cell", *(f"prob_{name}" for name in PHOTOS), "predicted"]
    assert list(judged["test"].columns) == wanted


def test_without_sources_the_rest_still_runs():
    table, features = copies_of_cells()
    table = leak.usable_rows(table.assign(cell=pd.NA, group=pd.NA))
    judged, left_out = leak.compare_schemes(table, features, n_folds=3, seed=0)
    assert list(judged) == ["random", "prefix", "test"]
    assert "expected" in left_out["source"]
    only, _ = leak.compare_schemes(table, features, n_folds=3, seed=0, schemes=["test"])
    assert list(only) == ["test"]


def test_repeated_folds_judge_every_image_once_a_repeat_unseen():
    table, features = copies_of_cells()
    kept = limit_copies(table, 4, seed=0)
    oof = leak.repeated_folds(kept, features[kept.index], n_folds=4, seeds=[5, 6, 7])
    wanted = ["path", "label", "cell", "repeat", *(f"prob_{name}" for name in PHOTOS)]
    assert list(oof.columns) == wanted
    for _, rows in oof.groupby("repeat"):
        assert list(rows["path"]) == list(kept["path"])
    np.testing.assert_allclose(oof.filter(like="prob_").sum(axis=1), 1)
    first, second = (oof[oof["repeat"] == i].filter(like="prob_").to_numpy() for i in (0, 1))
    assert not np.allclose(first, second), "other folds, other verdicts"
    assert macro_f1(oof[oof["repeat"] == 0]) < 0.8, "no copy of the cell was seen"
    none = leak.repeated_folds(kept, features[kept.index], n_folds=4, seeds=[])
    assert list(none.columns) == wanted
    assert len(none) == 0
