"""LIME and SHAP on made-up judges whose answer is known."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.studies.attributions import (
    METHODS,
    Asked,
    attributions,
    lime_weights,
    shap_weights,
)
from hv_utils.studies.regions import Regions, painted

SIZE = (64, 64)
FILL = np.full((*SIZE, 3), 240, np.uint8)


@pytest.fixture
def regions():
    labels = np.zeros(SIZE, int)
    labels[:32, 32:], labels[32:, :32], labels[32:, 32:] = 1, 2, 3
    return Regions.of(labels, ("a", "b", "c", "d"))


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 200, (*SIZE, 3), dtype=np.uint8)


def shown_parts(images, image, regions):
    """Return which regions are shown, bool (N, 4)."""
    same = (images == image).all(axis=-1)
    return np.stack([same[:, regions.labels == k].mean(axis=1) > 0.9 for k in range(4)], axis=1)


@dataclass
class Two:
    """Two judges: one adds up, the other wants two parts at once."""

    image: np.ndarray
    regions: Regions
    judged: int = 0
    names = ("trained", "top")

    def __call__(self, images):
        self.judged += len(images)
        parts = shown_parts(images, self.image, self.regions).astype(float)
        first = parts @ [4.0, 2.0, 0.0, -1.0]
        second = 6 * parts[:, 0] * parts[:, 1]
        logits = np.stack([first, second], axis=1)
        return np.stack([0 * logits, logits], axis=2)

    def first(self, images):
        return self(images)[:, 0]

    def heat_maps(self, images, class_index):
        return np.ones((len(images), 2, 2, 2), np.float32)


def exact(value):
    """Return the Shapley values of four players: the mean gain over all orders."""
    shares = np.zeros(4)
    for order in permutations(range(4)):
        shown = np.zeros(4, bool)
        for player in order:
            before = value(shown)
            shown[player] = True
            shares[player] += value(shown) - before
    return shares / 24


def test_shap_of_four_regions_is_exact(image, regions):
    pytest.importorskip("shap")
    judges = Two(image, regions)

    def score(images):
        return judges(images)[:, :, 1]

    def value(judge):
        hidden = lambda shown: ~shown[regions.labels]  # noqa: E731
        return lambda shown: score(painted(image, FILL, hidden(shown)[None]))[0, judge]

    state = np.random.get_state()[1].copy()  # noqa: NPY002
    found = shap_weights(score, image, regions, FILL, n_samples=16)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    for judge in (0, 1):
        np.testing.assert_allclose(found[judge], exact(value(judge)), atol=1e-6)
    np.testing.assert_allclose(found[1], [3, 3, 0, 0], atol=1e-6)


def test_too_few_samples_are_refused(image):
    pytest.importorskip("shap")
    many = Regions.of(np.arange(64)[None].repeat(64, 0) // 4)
    with pytest.raises(HematoVisionError, match="leave the shares open"):
        shap_weights(lambda x: np.zeros((len(x), 1)), image, many, FILL, n_samples=10)


def test_lime_finds_what_counts_and_says_nothing_else(image, regions, capfd):
    pytest.importorskip("lime")
    judges = Two(image, regions)
    found = lime_weights(
        lambda images: judges(images)[:, :, 1], image, regions, FILL, n_samples=200
    )
    assert found.shape == (2, 4)
    np.testing.assert_allclose(found[0], [4, 2, 0, -1], atol=0.3)
    assert min(found[1][:2]) > 5 * max(abs(found[1][2:]))
    assert capfd.readouterr() == ("", "")


def test_all_methods_and_no_image_twice(image, regions):
    pytest.importorskip("shap")
    asked = Asked(Two(image, regions))
    cell = np.zeros(SIZE, bool)
    cell[10:30, 10:30] = True
    cuts = {"regions": regions, "superpixels": regions}
    found = attributions(asked, image, 1, cuts, cell, FILL, n_samples=30, seed=3)
    assert tuple(found) == METHODS
    assert asked.computed == asked.judges.judged <= 16, "four regions have sixteen sets"
    np.testing.assert_array_equal(asked.first(image[None]), asked(image[None])[:, 0])
    assert asked.judges.judged == asked.computed, "the first judge's answers are kept, too"
    for name, one in found.items():
        assert set(one.maps) == {"trained", "top"}
        assert one.seconds >= 0
        again = attributions(asked, image, 1, cuts, cell, FILL, n_samples=30, seed=3)[name]
        np.testing.assert_allclose(one.maps["trained"], again.maps["trained"])
    strongest = found["SHAP, regions"].maps["trained"]
    assert strongest[0, 0] == strongest.max()
    outline = found["cell outline"].maps["trained"]
    np.testing.assert_array_equal(outline > 0, cell)
    other = attributions(asked, image, 1, {}, cell, FILL, n_samples=30, seed=4)
    assert tuple(other) == ("Grad-CAM", "random", "cell outline"), "without the extra"
    assert not np.allclose(other["random"].maps["top"], found["random"].maps["top"])


def test_samples_that_leave_the_shares_open_are_refused(image):
    pytest.importorskip("shap")
    many = Regions.of(np.arange(64)[None].repeat(64, 0) // 4)  # sixteen

    def explain_often():
        for seed in range(10):
            zeros = lambda images: np.zeros((len(images), 1))  # noqa: E731
            shap_weights(zeros, image, many, FILL, n_samples=18, seed=seed)

    with pytest.raises(HematoVisionError, match="leave the shares open"):
        explain_often()
