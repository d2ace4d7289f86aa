"""The random layers: one interpolation does what several did, and colours move as light does."""

import keras
import numpy as np
import pytest

from hv_utils.network.augmentation import RandomAffine, RandomStain

STILL = {"rotation_degrees": 0, "zoom": 0, "shift": 0, "flip": False}


@pytest.fixture(scope="module")
def images():
    noise = np.random.default_rng(0).uniform(20, 250, (8, 30, 40, 3))
    return noise.astype(np.float32)


def test_with_all_ranges_at_zero_nothing_moves(images):
    np.testing.assert_allclose(RandomAffine(**STILL)(images, training=True), images, atol=1e-3)


def test_mirroring_alone_gives_the_four_mirror_images(images):
    still = np.repeat(images[:1], 64, axis=0)
    changed = np.asarray(RandomAffine(**{**STILL, "flip": True}, seed=2)(still, training=True))
    wanted = [images[0][::down, ::across] for down in (1, -1) for across in (1, -1)]
    found = [[np.allclose(one, other, atol=1e-2) for other in wanted] for one in changed]
    assert np.sum(found, axis=1).tolist() == [1] * 64, "each is one of the four"
    assert (np.sum(found, axis=0) > 5).all(), "and all four occur"


def test_turning_keeps_the_centre_and_the_shape_of_a_disc():
    y, x = np.mgrid[:61, :61] - 30
    disc = np.repeat((255.0 * (x**2 + y**2 < 200))[None, ..., None], 3, axis=3)
    disc = np.repeat(disc.astype(np.float32), 10, axis=0)
    turned = np.asarray(RandomAffine(**{**STILL, "rotation_degrees": 180})(disc, training=True))
    assert np.abs(turned - disc).mean() < 3


def test_turning_turns_within_its_range():
    bar = np.zeros((60, 61, 61, 3), np.float32)
    bar[:, 29:32, 8:53] = 255
    turned = np.asarray(RandomAffine(**{**STILL, "rotation_degrees": 30})(bar, training=True))
    y, x = np.mgrid[:61, :61] - 30
    light = turned[..., 0]
    across = (light * x * y).sum((1, 2)), (light * (x**2 - y**2)).sum((1, 2))
    angle = np.degrees(0.5 * np.arctan2(2 * across[0], across[1]))
    assert 20 < np.abs(angle).max() < 31


def test_zoom_changes_the_area_within_its_range():
    square = np.zeros((50, 61, 61, 3), np.float32)
    square[:, 20:41, 20:41] = 255
    zoomed = np.asarray(RandomAffine(**{**STILL, "zoom": 0.2})(square, training=True))
    areas = zoomed[..., 0].sum((1, 2)) / square[0, ..., 0].sum()
    assert 1 / 1.2**2 - 0.05 < areas.min() < 0.85
    assert 1.15 < areas.max() < 1 / 0.8**2 + 0.05


def test_stain_keeps_black_black_and_the_order_of_the_light(images):
    images = images.copy()
    images[:, 0] = 0
    changed = np.asarray(RandomStain(0.3, seed=1)(images, training=True))
    assert (changed[:, 0] == 0).all(), "the black fill says nothing of the stain"
    assert changed.min() >= 0
    assert changed.max() <= 255
    for before, after in zip(images, changed, strict=True):
        order = np.argsort(before[..., 0], axis=None)
        assert (np.diff(after[..., 0].ravel()[order]) >= -1e-3).all(), "a curve, no noise"
    assert len({round(float(image.mean()), 2) for image in changed}) == len(changed)


@pytest.mark.parametrize("layer", [RandomAffine(zoom=0.3, seed=4), RandomStain(0.2, seed=4)])
def test_acts_in_training_only_and_is_made_again_from_its_config(layer, images):
    np.testing.assert_array_equal(layer(images, training=False), images)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    assert not np.allclose(again(images, training=True), images)
