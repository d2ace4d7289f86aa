"""The shipped models: whole, small, and used by `hv predict` where no other is named."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import ROOT
from hv_utils.drawn.smear import draw_photo
from hv_utils.fields.view import VIEW_SIDE
from hv_utils.images.labels import CLASSES, KINDS
from hv_utils.images.reading import resize
from hv_utils.inference.onnx_model import SHIPPED_MODEL, OnnxClassifier
from hv_utils.inference.predict import TRAVELLING_MODEL, default_model
from hv_utils.network.gradcam import grad_cam
from hv_utils.network.model import build_model


@pytest.fixture(scope="module")
def model():
    return OnnxClassifier.load(SHIPPED_MODEL)


def test_it_is_whole_and_has_all_that_a_verdict_needs(model):
    assert model.classes == CLASSES
    assert model.novelty is not None
    assert 0 < model.unsure_below < 1
    assert default_model() == TRAVELLING_MODEL


def test_the_weights_of_classifiers_are_at_most_25_megabytes_and_the_detector_one():
    sizes = {path.name: path.stat().st_size for path in SHIPPED_MODEL.parent.iterdir()}
    assert sizes.pop("detector.onnx") <= 1e6
    assert sum(sizes.values()) <= 25e6


def test_noise_is_no_cell_and_probabilities_sum_to_one(model):
    noise = np.random.default_rng(0).integers(0, 256, (4, *model.size, 3), dtype=np.uint8)
    verdicts = model(noise, cam=True)
    assert set(verdicts.statuses) == {"not_a_cell"}
    np.testing.assert_allclose(verdicts.pred_probs.sum(1), 1)
    assert np.isfinite(verdicts.heat_maps).all()


def test_the_command_answers_without_a_run(tmp_path):
    photo = draw_photo("neutrophil", rng=np.random.default_rng(0)).image
    Image.fromarray(photo).save(tmp_path / "cell.png")
    command = [sys.executable, "-m", "hv_utils.cli", "predict", tmp_path / "cell.png"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "cell.png" in result.stdout


def test_the_command_says_why_and_what_else_it_could_be(tmp_path):
    for label in CLASSES:
        photo = draw_photo(label, rng=np.random.default_rng(0)).image
        Image.fromarray(photo).save(tmp_path / f"{label}.png")
    (tmp_path / "broken.png").write_text("no image")
    command = [sys.executable, "-m", "hv_utils.cli", "predict", tmp_path, "--why"]
    command += ["--coverage", "0.95", "--csv", tmp_path / "out.csv"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 1, "one picture cannot be read"
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert list(table.columns[-2:]) == ["set", "why"]
    for row in table.to_dict("records"):
        told = row["status"] in ("ok", "unsure")
        assert row["predicted"] in row["set"].split("|")
        assert bool(row["set"]) == told
        assert bool(row["why"]) == (told and row["predicted"] in CLASSES)
        if row["why"]:
            assert (
                f": {row['predicted']} {100 * float(row['confidence']):.0f} %: {row['why']}"
                in result.stdout
            )
    assert (table["why"] != "").sum() >= 3


def test_its_licence_and_origin_are_told():
    about = (SHIPPED_MODEL.parent / "README.md").read_text(encoding="utf-8")
    assert "hematovision.onnx" in about
    assert "results/native" in about


def test_it_computes_what_keras_computes(model):
    reference = build_model(len(model.classes), size=model.size, weights="hematovision", dropout=0)
    for name, (kernel, bias) in zip(("hidden", "logits"), model.head, strict=True):
        reference.get_layer(name).set_weights([kernel, bias])
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (4, 9, 12, 3), dtype=np.uint8)
    images = np.stack([resize(image, model.size) for image in small])
    plain = OnnxClassifier(model.session, model.classes, model.size, model.head)
    found = plain(images, cam=True)
    expected = np.asarray(reference(images.astype(np.float32), training=False))
    np.testing.assert_allclose(found.pred_probs, expected, atol=1e-4)
    np.testing.assert_allclose(found.heat_maps, grad_cam(reference, images), atol=1e-4)


def test_the_model_of_cells_knows_eight_kinds_and_says_where_it_comes_from():
    cells = OnnxClassifier.load(TRAVELLING_MODEL)
    assert cells.classes == KINDS
    assert (cells.meta["view"], cells.size) == ("standard", (VIEW_SIDE, VIEW_SIDE))
    assert cells.novelty is not None
    assert 0 < cells.unsure_below < 1
    noise = np.random.default_rng(0).integers(0, 256, (4, *cells.size, 3), dtype=np.uint8)
    assert set(cells(noise).statuses) == {"not_a_cell"}
    about = (TRAVELLING_MODEL.parent / "README.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in about
    assert "10.17632/snkd93bnjr.1" in about
