import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from hv_utils.inference.onnx_model import INPUT, open_session
from hv_utils.studies import probes

REFERENCE = Path(__file__).parents[1] / "lite0-reference.json"


@pytest.fixture
def counted(monkeypatch):
    """Replace the backbone by the mean colour of each file, and count what it computes."""
    asked = []

    def outputs(graph, paths, *, progress=None):
        asked.append((graph, list(paths)))
        means = [np.asarray(Image.open(path)).mean((0, 1)) for path in paths]
        return np.asarray(means, np.float32)

    def start(weights, *, size):
        return (weights, size), f"came to {weights}"

    monkeypatch.setattr(probes, "start_graph", start)
    monkeypatch.setattr(probes, "graph_outputs", outputs)
    return asked


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(path)
    return pd.DataFrame({"path": [str(path) for path in paths], "label": list("ababab")})


def test_features_are_computed_once(tmp_path, table, counted):
    run = Run.open(tmp_path / "run")
    first = probes.frozen_features(run, table)
    assert first.shape == (6, 3)
    assert first.dtype == np.float32
    again = probes.frozen_features(run, table.iloc[[4, 1]])
    np.testing.assert_array_equal(again, first[[4, 1]])
    assert len(counted) == 1
    with np.load(run.path("features.npz")) as arrays:
        assert arrays["features"].dtype == np.float16
        assert list(arrays["path"]) == list(table["path"])
        assert str(arrays["weights"]) == "lite0"
        assert str(arrays["size"]) == "224x224"
    assert probes.kept_start(run) == ("came to lite0", (224, 224))


@pytest.mark.parametrize("change", [{"weights": "none"}, {"size": (64, 96)}])
def test_features_of_another_backbone_are_not_taken(tmp_path, table, counted, change):
    run = Run.open(tmp_path / "run")
    probes.frozen_features(run, table)
    probes.frozen_features(run, table, **change)
    assert len(counted) == 2
    assert counted[1][0] == (change.get("weights", "lite0"), change.get("size", (224, 224)))


def test_features_of_a_changed_or_a_new_image_are_not_taken(tmp_path, table, counted):
    run = Run.open(tmp_path / "run")
    probes.frozen_features(run, table.head(5))
    probes.frozen_features(run, table)
    assert len(counted) == 2, "the sixth image was not there"
    before = probes.frozen_features(run, table)
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(table["path"][0])
    after = probes.frozen_features(run, table)
    assert len(counted) == 3
    assert (after[0] == 0).all()
    np.testing.assert_array_equal(after[1:], before[1:])
    known = table.assign(sha256="as the table says")
    probes.frozen_features(run, known)
    assert len(counted) == 4, "the table's own checksums are believed"


def test_a_file_that_holds_no_features_is_made_anew(tmp_path, table, counted):
    run = Run.open(tmp_path / "run")
    run.path("features.npz").write_bytes(b"half a file")
    assert probes.frozen_features(run, table).shape == (6, 3)
    np.savez(run.path("features.npz"), something=np.zeros(3))
    assert probes.frozen_features(run, table).shape == (6, 3)


def test_the_start_backbone_computes_what_it_was_trained_to():
    y, x, c = np.meshgrid(np.arange(224), np.arange(224), np.arange(3), indexing="ij")
    wave = np.round(127.5 + 127.5 * np.sin(x / (7 + c)) * np.cos(y / (11 - c))).astype(np.uint8)
    graph, name = probes.start_graph("lite0")
    assert name == "lite0"
    found = open_session(graph.SerializeToString()).run(None, {INPUT: wave[None]})[0][0]
    expected = json.loads(REFERENCE.read_text(encoding="utf-8"))["features"]
    np.testing.assert_allclose(found, expected, atol=3e-5)


def clouds(per_class=(80, 30, 20), spread=0.7, seed=0):
    """Draw points around three centres that are the same whatever the seed."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(["a", "b", "c"], per_class)
    centres = np.random.default_rng(99).normal(size=(3, 12))
    features = centres[np.searchsorted(["a", "b", "c"], labels)]
    return (features + rng.normal(0, spread, features.shape)).astype(np.float32), labels


def test_the_probe_learns_and_columns_follow_the_classes():
    features, labels = clouds()
    others, truth = clouds(seed=1)
    probs = probes.fit_predict(features, labels, others, ["a", "b", "c"])
    np.testing.assert_allclose(probs.sum(1), 1)
    assert f1_score(truth, np.array(["a", "b", "c"])[probs.argmax(1)], average="macro") > 0.9
    turned = probes.fit_predict(features, labels, others, ["c", "b", "a"])
    np.testing.assert_allclose(turned[:, ::-1], probs)


def test_a_class_without_training_images_gets_nothing():
    features, labels = clouds()
    kept = labels != "b"
    probs = probes.fit_predict(features[kept], labels[kept], features, ["a", "b", "c"])
    assert (probs[:, 1] == 0).all()
    with pytest.raises(HematoVisionError, match="at least two classes"):
        probes.fit_predict(features[:5], labels[:5], features, ["a", "b", "c"])


def test_out_of_fold_never_judges_what_it_learnt_from():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(120, 40)), np.repeat(["a", "b"], 60)
    seen = probes.fit_predict(features, labels, features, ["a", "b"])
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(features, labels))
    unseen = probes.out_of_fold(features, labels, folds, ["a", "b"])

    def share_right(probs):
        return (np.array(["a", "b"])[probs.argmax(1)] == labels).mean()

    assert share_right(seen) > 0.75, "noise can be learnt by heart"
    assert share_right(unseen) < 0.65, "and not foretold"
    part = probes.out_of_fold(features, labels, folds[:1], ["a", "b"])
    assert np.isnan(part[folds[0][0]]).all()
    assert not np.isnan(part[folds[0][1]]).any()


def test_the_border_is_black_and_touches_the_frame():
    image = np.full((60, 80, 3), 200, np.uint8)
    image[:10] = 5  # a border with JPEG noise
    image[:, -6:] = (20, 0, 12)
    image[30:40, 30:50] = 0  # dark, but inside the field
    image[50:, :20] = (60, 20, 90)  # a stained nucleus at the frame
    border = probes.black_border(image)
    expected = np.zeros((60, 80), bool)
    expected[:10] = expected[:, -6:] = True
    np.testing.assert_array_equal(border, expected)
    assert not probes.black_border(np.full((20, 20, 3), 90, np.uint8)).any()
    assert probes.black_border(np.zeros((20, 20, 3), np.uint8)).all()


def test_border_features_hold_nothing_of_the_cell(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i in range(3):
        image = rng.integers(60, 255, (48, 64, 3), np.uint8)  # another field each time
        image[:12] = 0
        image[:, : 8 * (i == 2)] = 0
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    found = probes.border_features(paths, grid=(4, 8))
    assert found.shape == (3, 32)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0].reshape(4, 8)[0], 1)
    assert found[0].reshape(4, 8)[1:].max() == 0
    np.testing.assert_allclose(found[2].reshape(4, 8)[:, 0], 1)
    assert probes.border_features([]).shape == (0, 768)
