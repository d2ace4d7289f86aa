"""Judges: the trained network is itself, and a shuffled copy differs only from its stage up."""

import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.onnx_model import OnnxClassifier
from hv_utils.network.export import export_model
from hv_utils.network.judges import judges_of, taught_head
from hv_utils.network.model import build_model, save_model

SIZE = (64, 96)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges")
    model = build_model(3, size=SIZE, weights="lite0", hidden=16, seed=0)
    save_model(model, folder / "model.keras", classes=["a", "b", "c"])
    return export_model(folder / "model.keras", folder / "model.onnx")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)


def test_the_first_judge_is_the_network(exported, images):
    judges, network = judges_of(exported), OnnxClassifier.load(exported)
    logits, feature_map = network.run(images)
    assert judges.names == ("trained", "logits", "hidden", "top")
    found = judges(images)
    assert found.shape == (5, 4, 3)
    np.testing.assert_allclose(found[:, 0], logits, rtol=5e-3, atol=5e-3)
    maps = network.heat_maps(feature_map, np.full(5, 1))
    np.testing.assert_allclose(judges.heat_maps(images, 1)[:, 0], maps, atol=1e-4)
    np.testing.assert_allclose(judges.features(images), feature_map.mean((1, 2)), atol=1e-4)


def test_shuffling_goes_from_the_output_down(exported, images):
    judges = judges_of(exported, stages=("logits", "hidden", "top", "block7a"), seed=1)
    trained, logits, hidden, top = judges.trunks[0][1]
    assert trained.top is logits.top is hidden.top
    assert trained.head[0][0] is logits.head[0][0], "below the stage nothing changes"
    assert logits.head[-1][0] is hidden.head[-1][0] is top.head[-1][0], "alike in all stages"
    for old, new in ((trained.top[0], top.top[0]), (trained.head[0][0], hidden.head[0][0])):
        assert not np.array_equal(old, new)
        np.testing.assert_array_equal(np.sort(old, axis=None), np.sort(new, axis=None))
    found = judges(images)
    for at in range(1, 5):
        assert np.abs(found[:, at] - found[:, 0]).max() > 1e-3
    again = judges_of(exported, stages=("block7a",), seed=1)
    np.testing.assert_array_equal(again(images)[:, 1], found[:, 4])
    with pytest.raises(HematoVisionError, match="block9"):
        judges_of(exported, stages=("block9",))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_head_taught_anew_learns(exported, images, n_classes):
    judges = judges_of(exported, stages=())
    rng = np.random.default_rng(0)
    index = np.arange(60) % n_classes
    centres = rng.normal(size=(n_classes, 1280))
    features = (centres[index] + rng.normal(0, 0.3, (60, 1280))).astype(np.float32)
    heads = {
        str(s): taught_head(features, index, n_classes=n_classes, hidden=32, seed=s) for s in (0, 1)
    }
    both = judges.with_heads(heads).trunks[0][1][1:]
    for judge in both:
        logits = judge.logits(features)
        assert logits.shape == (60, n_classes)
        assert (logits.argmax(1) == index).mean() > 0.9
    assert not np.allclose(both[0].head[0][0], both[1].head[0][0]), "two seeds, two heads"
    assert judges.names == ("trained",), "nothing is added to what was given"
