import json

import keras
import numpy as np
import pytest
from PIL import Image

from hv_utils.ground.errors import HematoVisionError
from hv_utils.network.model import (
    build_model,
    extract_features,
    load_model,
    model_facts,
    part_below,
    predict_probs,
    save_model,
    sidecar,
)
from hv_utils.network.preprocessing import load_images

CLASSES = ["eosinophil", "lymphocyte", "monocyte"]
SIZE = (64, 48)


@pytest.fixture(scope="module")
def model():
    return build_model(3, size=SIZE, weights="lite0", hidden=16, seed=1)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    files = [folder / f"{number}.png" for number in range(5)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(file)
    return files


def test_the_model_is_flat_and_ends_in_probabilities(model):
    assert model.output_shape == (None, 3)
    assert model.input_shape == (None, *SIZE, 3)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert [layer.name for layer in model.layers[-3:]] == ["hidden", "logits", "probabilities"]
    assert model.start_weights == "lite0"


def test_probabilities_are_the_softmax_of_the_logits(model, paths):
    images = load_images(paths, size=SIZE).astype(np.float32)
    logits = np.asarray(keras.Model(model.input, model.get_layer("logits").output)(images))
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    expected = exponentials / exponentials.sum(1, keepdims=True)
    probs = predict_probs(model, paths, batch_size=2)
    np.testing.assert_allclose(probs, expected, atol=1e-5)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)


def test_features_do_not_depend_on_the_batch(model, paths):
    seen = []
    features = extract_features(model, paths, batch_size=2, progress=lambda *at: seen.append(at))
    assert features.shape == (5, 1280)
    assert seen == [(2, 5), (4, 5), (5, 5)]
    np.testing.assert_allclose(features, extract_features(model, paths), atol=1e-4)
    assert features.std(0).max() > 0.01, "images differ in their features"


@pytest.mark.parametrize("block", ["block2a", "block3b", "block7a", "top"])
def test_a_network_in_two_parts_is_the_network(model, block):
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(np.float32)
    below, above = part_below(model, block)
    expected = np.asarray(model(images, training=False))
    np.testing.assert_allclose(above(below(images), training=False), expected, atol=1e-5)
    first = next(layer for layer in model.layers if layer.name.startswith(block))
    assert first in above.layers, "the layers are shared"
    assert model.get_layer("stem_conv") not in above.layers
    assert part_below(model, "stem") is None


def test_the_head_can_do_without_a_hidden_layer():
    model = build_model(5, size=(32, 32), weights="none", hidden=0)
    assert model.get_layer("logits").input.shape == (None, 1280)


def test_the_seed_fixes_the_head():
    heads = [
        build_model(3, size=(32, 32), weights="none", seed=seed).get_layer("hidden").get_weights()
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(heads[0][0], heads[1][0])
    assert not np.array_equal(heads[0][0], heads[2][0])


@pytest.mark.parametrize(("n", "size", "text"), [(1, (32, 32), "two classes"), (2, (16, 32), "32")])
def test_impossible_models_are_refused(n, size, text):
    with pytest.raises(HematoVisionError, match=text):
        build_model(n, size=size, weights="none")


def test_a_saved_model_comes_back_whole(model, paths, tmp_path):
    path = save_model(model, tmp_path / "model.keras", classes=CLASSES, temperature=1.5)
    loaded, meta = load_model(path)
    assert meta == {"classes": CLASSES, "size": SIZE, "temperature": 1.5}
    np.testing.assert_allclose(predict_probs(loaded, paths), predict_probs(model, paths), atol=1e-6)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.keras", "model.keras.json"]


def test_saving_refuses_the_wrong_number_of_classes(model, tmp_path):
    with pytest.raises(HematoVisionError, match="expected 3 classes"):
        save_model(model, tmp_path / "model.keras", classes=CLASSES[:2])
    assert not list(tmp_path.iterdir())


def test_loading_says_what_is_wrong(model, tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(HematoVisionError, match="nothing is at"):
        load_model(path)
    path.write_bytes(b"no model")
    with pytest.raises(HematoVisionError, match="keep both files"):
        load_model(path)
    sidecar(path).write_text(json.dumps({"classes": CLASSES}))
    with pytest.raises(HematoVisionError, match="cannot be loaded"):
        load_model(path)
    save_model(model, path, classes=CLASSES)
    sidecar(path).write_text(json.dumps({"classes": CLASSES[:2]}))
    with pytest.raises(HematoVisionError, match="do not belong together"):
        load_model(path)


def test_facts_count_what_keras_counts(model):
    facts = model_facts(model)
    assert facts["float32_mb"] == pytest.approx(4 * facts["parameters"] / 1e6)
    head = 1280 * 16 + 16 + 16 * 3 + 3
    assert 4_049_564 <= facts["parameters"] - head <= 4_049_600  # B0 without top, seeds of dropouts
