"""The exported model gives Keras's probabilities and Keras's heat maps."""

import keras
import numpy as np
import onnx
import pandas as pd
import pytest
from PIL import Image

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import fingerprint
from hv_utils.ground.runs import Run
from hv_utils.inference.onnx_model import OnnxClassifier, arrays_path, facts_path
from hv_utils.network import finishing
from hv_utils.network.export import head_arrays, write_companions
from hv_utils.network.finishing import finish_model
from hv_utils.network.gradcam import grad_cam
from hv_utils.network.kernels import round_kernels, store_half
from hv_utils.network.model import build_model, load_model, save_model
from hv_utils.network.preprocessing import load_images

CLASSES = ["eosinophil", "lymphocyte", "monocyte"]
SIZE = (64, 96)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run with images of three colours and a model that nobody trained."""
    run = Run.open(tmp_path_factory.mktemp("run"))
    rng = np.random.default_rng(0)
    rows = []
    for number in range(42):
        label, split = number % 3, ("train", "train", "val", "test")[number % 4]
        pixels = rng.integers(0, 120, (60, 80, 3), dtype=np.uint8)
        pixels[15:45, 20:60, label] += 120
        path = run.path(f"{number}.png")
        Image.fromarray(pixels).save(path)
        rows.append({"path": str(path), "label": CLASSES[label], "split": split, "cell": number})
    run.write_table("images.csv", pd.DataFrame(rows))
    model = build_model(3, size=SIZE, weights="lite0", hidden=16, seed=1)
    round_kernels(model)
    save_model(model, run.path("model.keras"), classes=CLASSES)
    return run


@pytest.fixture(scope="module")
def finished(run):
    return finish_model(run, rank=8, half=False, progress=lambda line: None)


@pytest.fixture(scope="module")
def images(run):
    return load_images(list(run.read_table("images.csv")["path"][:6]), size=SIZE)


def test_probabilities_and_heat_maps_are_those_of_keras(run, finished, images):
    reference, _ = load_model(run.path("model.keras"))
    expected = np.asarray(reference(images.astype(np.float32), training=False))
    exported = OnnxClassifier.load(run.path("model.onnx"))
    plain = OnnxClassifier(exported.session, exported.classes, exported.size, exported.head)
    found = plain(images, cam=True)
    assert expected.std(axis=0).max() > 1e-3, "the images differ"
    np.testing.assert_allclose(found.pred_probs, expected, atol=1e-4)
    _, feature_map = exported.run(images)
    for index in range(3):
        chosen = np.full(len(images), index)
        maps = grad_cam(reference, images, index)
        np.testing.assert_allclose(exported.heat_maps(feature_map, chosen), maps, atol=1e-4)
    assert maps.shape[1:] == (2, 3)
    assert maps.max() > 1e-3
    np.testing.assert_allclose(
        found.heat_maps, grad_cam(reference, images), atol=1e-4, err_msg="of the likeliest class"
    )


def test_what_is_known_of_the_model_lies_beside_it(run, finished):
    path = run.path("model.onnx")
    assert finished["classes"] == CLASSES
    assert tuple(finished["size"]) == SIZE
    assert finished["sha256"] == {"onnx": fingerprint(path), "npz": fingerprint(arrays_path(path))}
    assert finished["agreement"]["max_prob_difference"] < 1e-4
    assert finished["agreement"]["max_cam_difference"] < 1e-3
    assert 0.05 <= finished["temperature"] <= 20
    model = OnnxClassifier.load(path)
    assert model.temperature == finished["temperature"]
    assert model.unsure_below == finished["thresholds"]["unsure_below"]
    assert model.novelty.threshold == pytest.approx(finished["thresholds"]["not_a_cell_above"])
    assert model.novelty.basis.shape == (1280, 8)


def test_validation_images_pass_and_noise_does_not(run, finished):
    model = OnnxClassifier.load(run.path("model.onnx"))
    table = run.read_table("images.csv")
    val = load_images(list(table.loc[table["split"] == "val", "path"]), size=SIZE)
    assert model(val).statuses.count("not_a_cell") <= 1
    blank = np.stack([np.zeros((*SIZE, 3), np.uint8), np.full((*SIZE, 3), 255, np.uint8)])
    assert model(blank).statuses == ["not_a_cell"] * 2


def test_a_folder_of_images_has_no_photos(run, tmp_path):
    folder = Run.open(tmp_path)
    columns = ["photo", "path", "category", "label", "doubt", "white_cells"]
    folder.write_table("photos.csv", pd.DataFrame(columns=columns))
    found = finishing.photos_of(folder, run.read_table("images.csv"), "train", 0)
    assert {"path", "label"} <= set(found.columns)
    assert found.empty


def test_half_precision_is_half_the_file(run, finished, images, tmp_path):
    full, half = run.path("model.onnx"), tmp_path / "half.onnx"
    proto = onnx.load(full)
    store_half(proto)
    half.write_bytes(proto.SerializeToString())
    with np.load(arrays_path(full)) as arrays:
        write_companions(half, facts=finished, arrays=dict(arrays))
    assert half.stat().st_size < 0.55 * full.stat().st_size
    assert half.stat().st_size < 10e6
    logits, _ = OnnxClassifier.load(half).run(images)
    expected, _ = OnnxClassifier.load(full).run(images)
    assert np.abs(logits - expected).max() < 1e-4, "the kernels were rounded before"
    assert sorted(tmp_path.iterdir()) == [half, facts_path(half), arrays_path(half)]


def test_an_export_that_disagrees_is_refused(monkeypatch, tmp_path, run):
    rough = Run.open(tmp_path / "rough")
    rough.write_table("images.csv", run.read_table("images.csv"))
    model, meta = load_model(run.path("model.keras"))
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel / 4, bias])  # still held by 16 bits
    monkeypatch.setattr(finishing, "AGREEMENT", 5e-5)
    save_model(model, rough.path("model.keras"), classes=meta["classes"])
    finish_model(rough, rank=8, progress=lambda line: None)
    for layer in model.layers:
        if layer.name.endswith("conv"):
            layer.set_weights([layer.get_weights()[0] * 1.0007])
    save_model(model, rough.path("model.keras"), classes=meta["classes"])
    with pytest.raises(HematoVisionError, match="round_kernels"):
        finish_model(rough, rank=8, progress=lambda line: None)


def test_other_heads_are_refused():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, name="top_activation")(inputs)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = keras.layers.Dense(4, activation="tanh")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))
    with pytest.raises(HematoVisionError, match="ReLU"):
        head_arrays(model)
    with pytest.raises(HematoVisionError, match="only models of build_model"):
        head_arrays(keras.Model(inputs, x))


def test_a_rare_class_is_among_the_images_that_calibrate():
    """A draw of 240 of thousands held none of the rarest kind, and the fit was refused."""
    labels = ["normal"] * 5000 + ["burr-cell"] * 12 + ["teardrop"] * 3
    table = pd.DataFrame({"path": map(str, range(5015)), "label": labels, "split": "train"})
    drawn = finishing._some(table, "train", 240, 0)
    counts = drawn["label"].value_counts()
    assert counts["burr-cell"] == finishing.LEAST_OF_A_CLASS
    assert counts["teardrop"] == 3, "all that there are"
    assert drawn["path"].is_unique
    plain = finishing._some(table[:5000], "train", 240, 0)
    assert len(plain) == 240
