"""Words: those of the likely values, the telling ones first, and what contradicts a verdict."""

import json
import shutil

import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference import morphology as module
from hv_utils.inference.morphology import (
    SIZES,
    STARTS,
    WORDS,
    Morphology,
    morphology_path,
    read_morphology,
    write_morphology,
)
from hv_utils.inference.onnx_model import OnnxClassifier
from hv_utils.inference.predict import TRAVELLING_MODEL, open_classifier

N_VALUES = sum(SIZES)
KINDS = ("eosinophil", "neutrophil")


def at(attribute: str, value: str) -> int:
    """Return the column of a value."""
    names = list(WORDS)
    return STARTS[names.index(attribute)] + list(WORDS[attribute]).index(value)


@pytest.fixture
def heads():
    """Heads that read each value off a feature of its own; the kinds differ in their granules."""
    typical = np.concatenate([np.full((2, n), 1 / n) for n in SIZES], axis=1)
    for kind, (usual, other) in enumerate((("red", "pink"), ("pink", "red"))):
        typical[kind, at("granule_colour", usual)] = 0.48
        typical[kind, at("granule_colour", other)] = 0.02
    kernel = np.zeros((1280, N_VALUES), np.float32)
    kernel[np.arange(N_VALUES), np.arange(N_VALUES)] = 1
    return Morphology(kernel, np.zeros(N_VALUES), KINDS, typical, margin=0.05)


def cell(**values: str) -> np.ndarray:
    """Return features that show these values clearly."""
    features = np.zeros((1, 1280))
    for attribute, value in values.items():
        features[0, at(attribute, value)] = 6
    return features


def test_what_sets_the_kind_apart_comes_first_and_what_is_unlikely_is_left_out(heads):
    (why,) = heads.why(cell(granule_colour="red", cell_size="big"), ["eosinophil"])
    first, second = why.split("; ")
    assert first == "granules orange-red (99 %)"
    assert second.startswith("large cell (")
    probs = heads.probabilities(cell(cell_size="big"))
    sums = np.add.reduceat(probs, STARTS[:-1], axis=1)
    np.testing.assert_allclose(sums, 1)


def test_a_contradiction_names_the_kind_that_the_looks_speak_for(heads):
    orange = cell(granule_colour="red")
    assert heads.rival(heads.probabilities(orange), ["neutrophil"]) == ["eosinophil"]
    assert heads.rival(heads.probabilities(orange), ["eosinophil"]) == [""]
    assert heads.why(orange, ["neutrophil"])[0].endswith("; this speaks for eosinophil")
    patient = Morphology(heads.kernel, heads.bias, KINDS, heads.typical, margin=5)
    assert patient.rival(heads.probabilities(orange), ["neutrophil"]) == [""]


def test_of_a_kind_whose_looks_were_not_learnt_nothing_is_said(heads):
    assert heads.why(cell(granule_colour="red"), ["platelet"]) == [""]


def test_they_come_back_as_they_were_written(heads, tmp_path):
    model = tmp_path / "model.onnx"
    write_morphology(heads, model, features_sha256="abc", facts={"trained_on": "drawings"})
    again = read_morphology(model, features_sha256="abc")
    orange = cell(granule_colour="red")
    assert again.why(orange, ["neutrophil"]) == heads.why(orange, ["neutrophil"])
    with pytest.raises(HematoVisionError, match="other features, for which there are no words"):
        read_morphology(model, features_sha256="another")


@pytest.mark.parametrize("harm", ["missing", "damaged", "other attributes"])
def test_files_that_are_not_whole_are_one_line(heads, tmp_path, monkeypatch, harm):
    model = tmp_path / "model.onnx"
    write_morphology(heads, model, features_sha256="abc", facts={})
    if harm == "missing":
        morphology_path(model).unlink()
    elif harm == "damaged":
        morphology_path(model).write_bytes(b"PK")
    else:
        monkeypatch.setitem(module.WORDS, "smell", {"none": "no smell"})
    with pytest.raises(
        HematoVisionError, match="leave out --why, or fetch the file again"
    ) as error:
        read_morphology(model, features_sha256="abc")
    assert "\n" not in str(error.value)


def test_the_shipped_words_fit_the_shipped_model_and_no_other(tmp_path):
    classify, facts = open_classifier(why=True, coverage=0.9)
    side = facts["size"][0]
    verdicts = classify(np.full((2, side, side, 3), 230, np.uint8))
    assert len(verdicts.whys) == 2
    assert verdicts.members.shape == (2, len(facts["classes"]))
    for source in TRAVELLING_MODEL.parent.glob("hematovision.onnx*"):
        shutil.copy(source, tmp_path)
    with pytest.raises(HematoVisionError, match="--why with the shipped model"):
        open_classifier(tmp_path / "hematovision.onnx", why=True)
    about = json.loads((tmp_path / "hematovision.onnx.json").read_text())
    del about["sets"]
    (tmp_path / "hematovision.onnx.json").write_text(json.dumps(about))
    assert OnnxClassifier.load(tmp_path / "hematovision.onnx").sets is None
    with pytest.raises(HematoVisionError, match="calibrated sets for --coverage"):
        open_classifier(tmp_path / "hematovision.onnx", coverage=0.9)
