"""A contrast between views of cells and views beside them, with a threshold from validation."""

import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.presence import Presence, fit_presence

D = 30


def features(n, seed, *, cell):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D)) + 3
    x[:, 4] += 6 * cell
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def presence():
    return fit_presence(
        features(200, 0, cell=1), features(150, 1, cell=0), features(300, 2, cell=0)
    )


def test_nine_in_ten_views_beside_cells_are_refused_and_cells_pass(presence):
    assert presence.is_absent(features(300, 2, cell=0)).mean() == pytest.approx(0.9, abs=0.01)
    assert presence.is_absent(features(1000, 3, cell=0)).mean() == pytest.approx(0.9, abs=0.06)
    assert presence.is_absent(features(1000, 4, cell=1)).mean() < 0.01


def test_the_length_of_the_features_does_not_count(presence):
    x = features(20, 5, cell=1)
    np.testing.assert_allclose(presence.score(x / 7), presence.score(x), rtol=1e-5)
    assert np.isfinite(presence.score(np.zeros((1, D)))).all()


def test_cells_that_were_labelled_pass_afterwards(presence):
    strange = features(12, 6, cell=0)
    assert presence.is_absent(strange).any()
    assert not presence.knowing(strange).is_absent(strange).any()
    usual = features(12, 7, cell=1)
    assert presence.knowing(usual).threshold == presence.threshold


def test_what_is_stored_comes_back(presence):
    again = Presence.from_arrays(presence.arrays())
    x = features(50, 8, cell=0)
    np.testing.assert_allclose(again.score(x), presence.score(x), rtol=1e-6)
    np.testing.assert_array_equal(again.is_absent(x), presence.is_absent(x))
    assert Presence.from_arrays({}) is None


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_views_of_each_kind_are_needed(empty):
    parts = [features(9, k, cell=k == 0) for k in range(3)]
    parts[empty] = parts[empty][:0]
    with pytest.raises(HematoVisionError, match="views beside them"):
        fit_presence(*parts)
