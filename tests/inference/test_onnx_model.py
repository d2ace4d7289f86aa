"""The classifier on ONNX Runtime, with a network small enough to be written down here."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.novelty import Novelty, unit
from hv_utils.inference.onnx_model import OnnxClassifier, Verdicts, arrays_path, facts_path
from hv_utils.inference.presence import Presence
from hv_utils.network.export import store_half, write_companions

CLASSES = ["dark", "light"]
SIZE = (8, 8)
CHANNELS = 32


def write_model(path, *, half=False, **facts):
    """Write a network with a 2x2 feature map, a mean and two dense layers."""
    rng = np.random.default_rng(0)
    arrays = {
        "head_0_kernel": rng.normal(size=(CHANNELS, 6)).astype(np.float32),
        "head_0_bias": rng.normal(size=6).astype(np.float32),
        "head_1_kernel": rng.normal(size=(6, 2)).astype(np.float32),
        "head_1_bias": np.zeros(2, np.float32),
    }
    kernel = rng.normal(size=(CHANNELS, 3, 4, 4)).astype(np.float32) / 2000
    make = helper.make_node
    nodes = [
        make("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        make("Transpose", ["float"], ["channels"], perm=[0, 3, 1, 2]),
        make("Conv", ["channels", "kernel"], ["conv"], strides=[4, 4]),
        make("Relu", ["conv"], ["relu"]),
        make("Transpose", ["relu"], ["feature_map"], perm=[0, 2, 3, 1]),
        make("ReduceMean", ["feature_map"], ["pooled"], axes=[1, 2], keepdims=0),
        make("Gemm", ["pooled", "head_0_kernel", "head_0_bias"], ["pre"]),
        make("Relu", ["pre"], ["hidden"]),
        make("Gemm", ["hidden", "head_1_kernel", "head_1_bias"], ["logits"]),
    ]
    values = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [values("images", TensorProto.UINT8, ["N", *SIZE, 3])],
        [
            values("logits", TensorProto.FLOAT, ["N", 2]),
            values("feature_map", TensorProto.FLOAT, ["N", 2, 2, CHANNELS]),
        ],
        [numpy_helper.from_array(a, n) for n, a in {**arrays, "kernel": kernel}.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(proto)
    if half:
        store_half(proto)
    path.write_bytes(proto.SerializeToString())
    arrays |= facts.pop("arrays", {})
    return write_companions(path, facts={"classes": CLASSES, "size": SIZE, **facts}, arrays=arrays)


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)


def test_verdicts(tmp_path, images):
    model = OnnxClassifier.load(write_model(tmp_path / "model.onnx"))
    verdicts = model(images)
    assert isinstance(verdicts, Verdicts)
    assert verdicts.pred_probs.shape == (5, 2)
    np.testing.assert_allclose(verdicts.pred_probs.sum(axis=1), 1)
    assert verdicts.statuses == ["ok"] * 5
    assert verdicts.heat_maps is None
    single = np.concatenate([model(image[None]).pred_probs for image in images])
    np.testing.assert_allclose(single, verdicts.pred_probs, atol=1e-6)


def test_an_image_is_of_no_class_that_it_is_barred_from(tmp_path, images):
    model = OnnxClassifier.load(write_model(tmp_path / "model.onnx"))
    barred = np.zeros((5, 2), bool)
    barred[1, model(images).pred_probs[1].argmax()] = True
    plain, kept = model(images).pred_probs, model(images, barred=barred).pred_probs
    np.testing.assert_array_equal(kept[barred], 0)
    np.testing.assert_allclose(kept.sum(axis=1), 1)
    np.testing.assert_array_equal(np.delete(kept, 1, axis=0), np.delete(plain, 1, axis=0))


def test_the_temperature_divides_the_logits(tmp_path, images):
    plain = OnnxClassifier.load(write_model(tmp_path / "a.onnx"))
    cooled = OnnxClassifier.load(write_model(tmp_path / "b.onnx", temperature=2.0))
    logits, _ = plain.run(images)
    expected = plain.probabilities(logits / 2)
    np.testing.assert_allclose(cooled(images).pred_probs, expected, atol=1e-6)
    assert not np.allclose(expected, plain(images).pred_probs, atol=1e-3)


def test_heat_maps_are_the_numerical_gradient(tmp_path, images):
    model = OnnxClassifier.load(write_model(tmp_path / "model.onnx"))
    _, feature_map = model.run(images)
    chosen = np.array([0, 1, 0, 1, 0])

    def logit(shifted):
        x = shifted.astype(np.float64).mean(axis=(1, 2))
        (kernel, bias), (last, last_bias) = model.head
        x = np.maximum(x @ kernel.astype(float) + bias, 0) @ last.astype(float) + last_bias
        return x[np.arange(5), chosen]

    weights = np.zeros((5, CHANNELS))
    for channel in range(CHANNELS):
        step = np.zeros(CHANNELS)
        step[channel] = 1e-5
        # A shift of the whole channel: the sum of its four gradients, four times their mean.
        weights[:, channel] = (logit(feature_map + step) - logit(feature_map - step)) / 2e-5 / 4
    expected = np.maximum((feature_map * weights[:, None, None]).sum(axis=3), 0)
    assert expected.max() > 0
    np.testing.assert_allclose(model.heat_maps(feature_map, chosen), expected, atol=1e-4)


def test_unsure_and_not_a_cell(tmp_path, images):
    pooled = OnnxClassifier.load(write_model(tmp_path / "a.onnx")).run(images)[1].mean(axis=(1, 2))
    basis = np.eye(CHANNELS)[:, :1]
    known = Novelty(unit(pooled[:1]), basis, np.ones(1), 1.0)
    known = replace(known, threshold=known.score(pooled[1:]).min() / 2)
    path = write_model(
        tmp_path / "b.onnx", thresholds={"unsure_below": 1.01}, arrays=known.arrays()
    )
    verdicts = OnnxClassifier.load(path)(images)
    assert list(verdicts.statuses) == ["unsure", *["not_a_cell"] * 4]


def test_half_the_file_and_nearly_the_same_numbers(tmp_path, images):
    full, half = write_model(tmp_path / "a.onnx"), write_model(tmp_path / "b.onnx", half=True)
    assert half.stat().st_size < 0.65 * full.stat().st_size
    a, b = (OnnxClassifier.load(path)(images).pred_probs for path in (full, half))
    np.testing.assert_allclose(a, b, atol=2e-3)
    assert not np.array_equal(a, b)


def test_wrong_images_are_refused(tmp_path, images):
    model = OnnxClassifier.load(write_model(tmp_path / "model.onnx"))
    for wrong in (images.astype(np.float32), images[:, :4]):
        with pytest.raises(HematoVisionError, match="expected uint8 images of shape"):
            model(wrong)


def test_damaged_and_exchanged_files_are_refused(tmp_path):
    path, other = write_model(tmp_path / "a.onnx"), write_model(tmp_path / "b.onnx", half=True)
    for file in (path, arrays_path(path)):
        whole = file.read_bytes()
        for content in (whole[:-1], whole[:100] + b"x" + whole[101:], other.read_bytes(), b""):
            file.write_bytes(content)
            with pytest.raises(HematoVisionError, match=r"SHA-256.*damaged") as error:
                OnnxClassifier.load(path)
            assert "\n" not in str(error.value)
        file.write_bytes(whole)
    OnnxClassifier.load(path)


def test_missing_companions_are_named(tmp_path):
    with pytest.raises(HematoVisionError, match="nothing is at"):
        OnnxClassifier.load(tmp_path / "model.onnx")
    path = write_model(tmp_path / "model.onnx")
    for text in ("", "{}", json.dumps({"sha256": {"onnx": "", "npz": ""}}), "[]"):
        facts_path(path).write_text(text)
        with pytest.raises(HematoVisionError, match="keep the three files"):
            OnnxClassifier.load(path)
    write_model(path)
    arrays_path(path).unlink()
    with pytest.raises(HematoVisionError, match="keep the three files"):
        OnnxClassifier.load(path)


def test_what_is_no_onnx_model_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    facts = {"classes": CLASSES, "size": SIZE}
    write_companions(path, facts=facts, arrays={"head_0_kernel": np.zeros((1, 1))})
    with pytest.raises(HematoVisionError, match="head"):
        OnnxClassifier.load(path)
    head = {"head_0_kernel": np.zeros((1, 1)), "head_0_bias": np.zeros(1)}
    write_companions(path, facts=facts, arrays=head)
    with pytest.raises(HematoVisionError, match="cannot be loaded"):
        OnnxClassifier.load(path)


def test_where_a_model_knows_presence_it_decides_and_not_the_distance(tmp_path, images):
    pooled = OnnxClassifier.load(write_model(tmp_path / "a.onnx")).run(images)[1].mean(axis=(1, 2))
    far = Novelty(unit(pooled[:1]), np.eye(CHANNELS)[:, :1], np.ones(1), 1.0, threshold=-1.0)
    scores = unit(pooled) @ np.ones(CHANNELS)
    between = float(np.sort(scores)[2:4].mean())
    contrast = Presence(np.ones(CHANNELS), between)
    arrays = {**far.arrays(), **contrast.arrays()}
    verdicts = OnnxClassifier.load(write_model(tmp_path / "b.onnx", arrays=arrays))(images)
    wanted = np.where(scores < between, "not_a_cell", "ok")
    assert list(verdicts.statuses) == list(wanted)
