import keras
import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.heat_maps import enlarge, normalise, overlay
from hv_utils.network.gradcam import closed_form, grad_cam, shuffle_weights
from hv_utils.network.model import build_model

SIZE = (96, 64)


@pytest.fixture(scope="module")
def model():
    return build_model(3, size=SIZE, weights="lite0", hidden=0, seed=0)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)


def test_without_a_hidden_layer_it_is_the_class_activation_map(model, images):
    """Pooling and one dense layer: CAM (Zhou et al., 2016) says what the map must be."""
    features = keras.Model(model.input, model.get_layer("top_activation").output)
    feature_map = np.asarray(features(images.astype(np.float32), training=False))
    kernel = model.get_layer("logits").get_weights()[0]
    for label in range(3):
        expected = np.maximum(feature_map @ kernel[:, label], 0) / feature_map[0, :, :, 0].size
        maps = grad_cam(model, images, label, batch_size=2)
        assert maps.shape == (3, 3, 2)
        np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-5)
    assert max(grad_cam(model, images, label).max() for label in range(3)) > 0


def test_the_class_can_be_chosen_and_is_the_verdict_by_default(model, images):
    verdicts = np.asarray(model(images.astype(np.float32), training=False)).argmax(1)
    np.testing.assert_allclose(grad_cam(model, images), grad_cam(model, images, verdicts))
    other = grad_cam(model, images, (verdicts + 1) % 3)
    assert not np.allclose(other, grad_cam(model, images))
    finer = grad_cam(model, images[:1], layer="block5c_add")
    assert finer.shape == (1, 6, 4)
    assert grad_cam(model, images[:0]).shape[0] == 0


@pytest.mark.parametrize("hidden", [0, 16])
def test_the_formula_gives_the_maps_of_the_tape(hidden, model, images):
    model = build_model(3, size=SIZE, weights="lite0", hidden=16, seed=2) if hidden else model
    expected = grad_cam(model, images, [0, 1, 2])
    assert expected.max() > 0
    maps = closed_form(model, images, [0, 1, 2], batch_size=2)
    np.testing.assert_allclose(maps, expected, atol=1e-4 * expected.max())
    assert closed_form(model, images[:0], []).shape[0] == 0


def test_nothing_is_changed(model, images):
    weights = [value.copy() for value in model.get_weights()]
    before = images.copy()
    heat_map = grad_cam(model, images)[0]
    kept = heat_map.copy()
    normalise(heat_map), overlay(images[0], heat_map), enlarge(heat_map, SIZE)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(heat_map, kept)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_normalise_is_safe_on_flat_maps():
    heat_map = np.array([[1.0, 2.0], [3.0, 5.0]])
    np.testing.assert_allclose(normalise(heat_map), [[0, 0.25], [0.5, 1]])
    for flat in (np.zeros((2, 2)), np.full((2, 2), 7.0)):
        assert (normalise(flat) == 0).all()


def test_overlay_shows_the_image_where_it_is_cold():
    image = np.full((40, 60, 3), 100, np.uint8)
    heat_map = np.zeros((4, 6))
    heat_map[1, 1] = 1
    result = overlay(image, heat_map, alpha=1.0)
    assert result.dtype == np.uint8
    assert result.shape == image.shape
    assert (result[30:, 40:] == 100).all()
    assert (result[15, 15] != 100).any()
    assert (overlay(image, np.zeros((4, 6))) == image).all()
    assert (overlay(image, heat_map, alpha=0.0) == image).all()


def test_enlarge_keeps_the_place():
    heat_map = np.zeros((7, 7))
    heat_map[2, 5] = 1
    large = enlarge(heat_map, (70, 140))
    row, column = np.unravel_index(large.argmax(), large.shape)
    assert abs(row - 24.5) <= 1
    assert abs(column - 109.5) <= 1


def test_shuffled_weights_change_the_map_but_not_the_model(model, images):
    before = grad_cam(model, images, 0)
    shuffled = shuffle_weights(model, "logits", seed=1)
    old, new = (m.get_layer("logits").get_weights()[0] for m in (model, shuffled))
    assert not np.array_equal(old, new)
    np.testing.assert_array_equal(np.sort(old, axis=None), np.sort(new, axis=None))
    np.testing.assert_array_equal(
        model.get_layer("top_conv").get_weights()[0],
        shuffled.get_layer("top_conv").get_weights()[0],
    )
    assert not np.allclose(grad_cam(shuffled, images, 0), before)
    np.testing.assert_array_equal(grad_cam(model, images, 0), before)
    with pytest.raises(HematoVisionError, match="block8"):
        shuffle_weights(model, "block8")
