import json
import random
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.network import weights
from hv_utils.network.export import export_model
from hv_utils.network.kernels import round_kernels
from hv_utils.network.model import build_model, save_model

REFERENCE = Path(__file__).parents[1] / "lite0-reference.json"


@pytest.fixture(scope="module")
def base():
    return weights.backbone("lite0")[0]


def wave(height=224, width=224):
    """The image of the reference features: a formula, so that any framework can draw it."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return np.round(127.5 + 127.5 * np.sin(x / (7 + c)) * np.cos(y / (11 - c))).astype(np.float32)


def with_relu6(base):
    """Return EfficientNetB0 as EfficientNet-Lite0 was trained: ReLU6 in place of swish."""

    def swap(layer):
        if isinstance(layer, keras.layers.Activation):
            return keras.layers.Activation("relu6", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(base, clone_function=swap)


@pytest.mark.parametrize("gate", [0.5, 0.9])
def test_with_relu6_the_features_are_those_of_the_original(base, gate):
    lite0 = with_relu6(base)
    weights.load_lite0(lite0, gate=gate)
    features = np.asarray(lite0(wave()[None], training=False)).mean((0, 1, 2))
    expected = json.loads(REFERENCE.read_text(encoding="utf-8"))["features"]
    np.testing.assert_allclose(features, expected, atol=3e-5)
    assert max(expected) > 1, "the comparison is not one of zeros"


def test_the_gate_starts_constant_and_can_learn(base):
    expand = base.get_layer("block4b_se_expand")
    kernel, bias = expand.get_weights()
    assert not kernel.any()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), 0.5)
    assert expand.trainable


def test_every_convolution_and_norm_is_filled(base):
    arrays = weights.read_lite0()
    layers = {name.split("/")[0] for name in arrays}
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.BatchNormalization)
    ours = {x.name for x in base.layers if isinstance(x, kinds) and "_se_" not in x.name}
    assert layers == ours


def test_a_damaged_file_is_refused(tmp_path):
    for name in ("lite0.npz", "lite0.json"):
        shutil.copy(weights.FOLDER / name, tmp_path)
    weights.read_lite0(tmp_path)
    file = tmp_path / "lite0.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(HematoVisionError, match="damaged"):
        weights.read_lite0(tmp_path)
    file.unlink()
    with pytest.raises(HematoVisionError, match=r"lite0\.npz"):
        weights.read_lite0(tmp_path)


def test_the_shipped_file_is_small_and_its_licence_is_told():
    assert (weights.FOLDER / "lite0.npz").stat().st_size < 9e6
    assert "Apache License" in (weights.FOLDER / "README.md").read_text(encoding="utf-8")


def test_auto_falls_back_to_what_is_shipped_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr(weights, "imagenet_within_reach", lambda: False)
    _, name = weights.backbone("auto", size=(32, 32))
    assert name == "lite0"
    assert "lite0" in capsys.readouterr().out


def test_auto_falls_back_where_the_download_breaks(monkeypatch):
    def broken(*, weights, **options):
        if weights == "imagenet":
            raise OSError("connection reset")
        return keras.applications.efficientnet.EfficientNetB0(weights=weights, **options)

    monkeypatch.setattr(weights, "imagenet_within_reach", lambda: True)
    monkeypatch.setattr(keras.applications, "EfficientNetB0", broken)
    assert weights.backbone("auto", size=(32, 32))[1] == "lite0"
    with pytest.raises(HematoVisionError, match="connection reset"):
        weights.backbone("imagenet", size=(32, 32))


def test_random_weights_depend_on_the_seed_and_on_nothing_global():
    models, after = [], []
    for around, seed in ((1, 1), (2, 1), (1, 2)):
        keras.utils.set_random_seed(around)
        models.append(build_model(2, size=(32, 32), weights="none", seed=seed))
        after.append(random.random())
    first, again, other = ([each.numpy() for each in model.variables] for model in models)
    for variable, one, same in zip(models[0].variables, first, again, strict=True):
        np.testing.assert_array_equal(one, same, variable.path)
    differ = [not np.array_equal(*pair) for pair in zip(first, other, strict=True)]
    drawn = [each.path.endswith(("kernel", "generator_state")) for each in models[0].variables]
    assert differ == drawn, "biases and norms begin alike, all else is drawn"
    assert after[0] != after[1], "what others draw stays theirs"


def test_weights_from_an_earlier_model(tmp_path, base):
    with pytest.raises(HematoVisionError, match="check the spelling"):
        weights.backbone("lite1", size=(32, 32))
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(HematoVisionError, match="holds no EfficientNetB0"):
        weights.backbone(str(tmp_path / "text.keras"), size=(32, 32))
    base.save(tmp_path / "base.keras")
    loaded, _ = weights.backbone(str(tmp_path / "base.keras"))
    image = wave()[None]
    np.testing.assert_allclose(loaded(image), base(image), atol=1e-5)
    with pytest.raises(HematoVisionError, match="224x224"):
        weights.backbone(str(tmp_path / "base.keras"), size=(64, 64))


def test_an_exported_backbone_comes_back_whole(tmp_path, base):
    model = build_model(3, size=(64, 96), weights="lite0", seed=3)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("se_expand"):  # as if these had learnt
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.normal(0, 0.1, kernel.shape), bias])
    round_kernels(model)
    save_model(model, tmp_path / "model.keras", classes=["a", "b", "c"])
    path = export_model(tmp_path / "model.keras", tmp_path / "model.onnx")
    again = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(64, 96, 3)
    )
    weights.load_hematovision(again, path=path)
    expected = keras.Model(model.input, model.get_layer("top_activation").output)
    image = wave(64, 96)[None]
    assert np.abs(again(image) - expected(image)).max() < 1e-5
    norms = [model.get_layer("block3a_bn"), again.get_layer("block3a_bn")]
    assert all(map(np.array_equal, *[norm.get_weights() for norm in norms])), "training goes on"


def test_the_model_in_the_box_is_a_start_of_any_size():
    base, name = weights.backbone("hematovision", size=(64, 64))
    assert name == "hematovision"
    plain, _ = weights.backbone("lite0", size=(64, 64))
    kernels = [x.get_layer("block5b_project_conv").get_weights()[0] for x in (base, plain)]
    likeness = np.corrcoef(*map(np.ravel, kernels))[0, 1]
    assert 0.1 < likeness < 0.9999, "it started from lite0 and learnt"


def test_calibration_gives_the_batch_its_own_statistics(base):
    model = keras.models.clone_model(base)
    weights.load_lite0(model)
    rates = [x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)]
    kernel = model.get_layer("top_conv").get_weights()[0]
    images = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    weights.calibrate_batch_norm(model, images)
    norm = model.get_layer("top_bn")
    outputs = keras.Model(model.input, norm.output)(images.astype(np.float32), training=False)
    scaled = (np.asarray(outputs) - norm.beta.numpy()) / norm.gamma.numpy()
    np.testing.assert_allclose(scaled.mean((0, 1, 2)), 0, atol=0.02)
    np.testing.assert_allclose(np.median(scaled.std((0, 1, 2))), 1, atol=0.05)
    assert [x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)] == rates
    assert norm.momentum == base.get_layer("top_bn").momentum
    np.testing.assert_array_equal(model.get_layer("top_conv").get_weights()[0], kernel)
