import numpy as np
import pandas as pd
import pytest

from hv_utils.studies import siblings
from hv_utils.studies.leak import scheme_folds


def scattered(n_cells=20, copies=5, seed=0):
    """Copies close to their cell, cells of both classes all over the place."""
    rng = np.random.default_rng(seed)
    cells = np.repeat(np.arange(n_cells), copies)
    features = rng.normal(size=(n_cells, 8))[cells] + rng.normal(0, 0.05, (len(cells), 8))
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(len(cells))]})
    table["label"] = np.where(cells % 2, "a", "b")
    table["cell"] = pd.array([f"{cell:05d}" for cell in cells], dtype="string")
    return table, features


@pytest.fixture
def case():
    table, features = scattered()
    folds = {name: scheme_folds(table, name, n_folds=4, seed=0) for name in ("random", "source")}
    return table, features, folds


def test_neighbours_come_from_training_the_nearest_first(case):
    _, features, folds = case
    train, test = folds["random"][0]
    found = siblings.nearest_training_images(features, (train, test), n=4)
    assert found.shape == (len(test), 4)
    assert np.isin(found, train).all()
    scaled = (features - features[train].mean(0)) / features[train].std(0)
    distance = np.linalg.norm(scaled[test][:, None] - scaled[found], axis=2)
    assert (np.diff(distance, axis=1) >= -1e-9).all()
    far = np.linalg.norm(scaled[test][:, None] - scaled[train][None], axis=2)
    np.testing.assert_allclose(distance[:, 0], far.min(1))
    few = siblings.nearest_training_images(features, (train[:3], test), n=9)
    assert few.shape == (len(test), 3)


def test_a_random_split_leaves_siblings_in_training(case):
    table, features, folds = case
    found = siblings.neighbour_table(table, features, folds)
    assert found.loc["random", "sibling"] == 1
    assert found.loc["source", "sibling"] == 0
    assert found.loc["random", "same_class"] == 1
    assert found.loc["source", "same_class"] < 0.8


def test_groups_count_where_known_and_unknown_rows_do_not(case):
    table, features, folds = case
    joined = table.assign(group=table["cell"].where(table["cell"] < "00003", "many"))
    found = siblings.neighbour_table(joined, features, folds)
    assert found.loc["source", "sibling"] > 0, "these groups were not kept together"
    part = table.assign(cell=table["cell"].where(table["cell"] > "00009"))
    assert siblings.neighbour_table(part, features, folds).loc["random", "sibling"] == 1
    blind = table.assign(cell=pd.array([None] * len(table), dtype="string"))
    assert np.isnan(siblings.neighbour_table(blind, features, folds).loc["random", "sibling"])


def test_the_example_is_tested_under_both_schemes(case):
    table, features, folds = case
    positions, titles = siblings.example(table, features, folds, seed=3, n=4)
    assert len(positions) == len(titles) == 10
    assert positions[0] == positions[5]
    assert "a sibling" in titles[1]
    assert not any("sibling" in title for title in titles[5:])
    cells = table["cell"].to_numpy(object)
    for j, title in zip(positions[1:5], titles[1:5], strict=True):
        assert ("sibling" in title) == (cells[j] == cells[positions[0]])
    assert siblings.example(table, features, folds, seed=3, n=4)[0] == positions
