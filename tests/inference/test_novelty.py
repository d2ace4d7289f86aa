"""Features like those of the training pass; others do not, within their subspace or off it."""

import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.novelty import Novelty, fit_novelty, unit

D = 40


def features(n, rng, *, shift=0.0, off=0.0):
    """Draw features of two classes that vary in five of forty directions."""
    labels = rng.integers(0, 2, n)
    x = 0.05 * rng.normal(size=(n, D))
    x[:, :5] += rng.normal(size=(n, 5)) + shift
    x[:, 10] += 4 * labels
    x[:, 30:] += off
    x[:, 20] += 20  # what all images share, so that scaling to length 1 changes little else
    return x.astype(np.float32), labels


@pytest.fixture(scope="module")
def novelty():
    rng = np.random.default_rng(0)
    x, labels = features(400, rng)
    return fit_novelty(x, labels, features(300, rng)[0], rank=8)


def test_the_quantile_of_validation_images_passes(novelty):
    x, _ = features(3000, np.random.default_rng(1))
    assert novelty.is_new(x).mean() == pytest.approx(0.01, abs=0.015)
    assert np.median(novelty.score(x)) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("change", [{"shift": 8.0}, {"off": 0.5}])
def test_features_far_away_or_off_the_subspace_are_new(novelty, change):
    x, _ = features(200, np.random.default_rng(2), **change)
    assert novelty.is_new(x).mean() > 0.95


def test_between_the_classes_is_new_too(novelty):
    x, _ = features(200, np.random.default_rng(3))
    x[:, 10] = 2
    assert novelty.is_new(x).mean() > 0.95


def test_the_length_of_the_features_does_not_count(novelty):
    x, _ = features(20, np.random.default_rng(7))
    np.testing.assert_allclose(novelty.score(x / 5), novelty.score(x), rtol=1e-4)
    assert np.isfinite(novelty.score(np.zeros((1, D)))).all()


def test_the_score_is_the_mahalanobis_distance(novelty):
    x, _ = features(5, np.random.default_rng(4))
    rest = np.eye(D) - novelty.basis @ novelty.basis.T
    inverse = novelty.basis / novelty.variances @ novelty.basis.T + rest / novelty.rest
    offsets = unit(x)[:, None] - novelty.means
    expected = np.einsum("nkd,de,nke->nk", offsets, inverse, offsets).min(axis=1) / D
    np.testing.assert_allclose(novelty.score(x), expected, rtol=0.02)


def test_what_is_stored_comes_back_and_is_small(novelty):
    x, _ = features(50, np.random.default_rng(5))
    arrays = novelty.arrays()
    again = Novelty.from_arrays(arrays)
    np.testing.assert_allclose(again.score(x), novelty.score(x), rtol=1e-6)
    np.testing.assert_array_equal(again.is_new(x), novelty.is_new(x))
    assert sum(np.asarray(array).nbytes for array in arrays.values()) < 2 * D * (2 + 8) + 100
    assert Novelty.from_arrays({}) is None


def test_few_images_lower_the_rank():
    rng = np.random.default_rng(6)
    x, _ = features(8, rng)
    fitted = fit_novelty(x, np.array([0, 1] * 4), x, rank=64)
    assert fitted.basis.shape == (D, 5)
    assert np.isfinite(fitted.score(x)).all()


def test_too_few_images_are_refused():
    x = np.zeros((5, D))
    with pytest.raises(HematoVisionError, match="three training images"):
        fit_novelty(x, np.array([0, 0, 0, 1, 1]), x)
    with pytest.raises(HematoVisionError, match="of validation"):
        fit_novelty(x, np.zeros(5, int), x[:0])
