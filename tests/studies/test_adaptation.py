"""`hv adapt`: few labels move the last layer, bad ones are refused in a line, no TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT
from hv_utils.drawn.smear import draw_photo
from hv_utils.fields.finder import find_cells
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES
from hv_utils.inference.labelling import label_images
from hv_utils.inference.onnx_model import SHIPPED_MODEL, OnnxClassifier
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.studies.adaptation import (
    PULLS,
    Layer,
    adapt,
    adapted_layer,
    fit_layer,
    fold_of,
    hidden_of,
    read_labelled,
)


def laboratory(count, seed, *, shifted):
    """Return features of three kinds; in a shifted laboratory two of them have changed places."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    middles = np.eye(3, 6)
    if shifted:
        middles[[0, 1]] = middles[[1, 0]]
    return middles[truth] + rng.normal(0, 0.3, (count, 6)), truth


OLD = Layer(np.eye(6, 3) * 4, np.zeros(3))


def right(layer, hidden, truth):
    return (layer.probabilities(hidden).argmax(1) == truth).mean()


def test_labels_move_the_layer_and_a_strong_pull_keeps_it():
    hidden, truth = laboratory(60, 0, shifted=True)
    other, other_truth = laboratory(300, 1, shifted=True)
    assert right(OLD, other, other_truth) < 0.5
    free = fit_layer(hidden, truth, OLD, PULLS[0])
    assert right(free, other, other_truth) > 0.85
    bound = fit_layer(hidden, truth, OLD, 1e6)
    np.testing.assert_allclose(bound.kernel, OLD.kernel, atol=1e-3)


def test_cross_validation_keeps_what_is_right_and_mends_what_is_wrong():
    for shifted in (False, True):
        hidden, truth = laboratory(60, 2, shifted=shifted)
        layer, _ = adapted_layer(hidden, truth, list(map(str, range(60))), OLD)
        assert right(layer, *laboratory(300, 3, shifted=shifted)) > 0.85


def test_a_group_lies_in_one_fold():
    groups = [f"smear {n % 7}" for n in range(50)]
    folds = fold_of(groups)
    assert len(set(folds)) == 5
    assert len(set(zip(groups, folds, strict=True))) == 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Draw four cells of each class, on a yellow ground."""
    place = tmp_path_factory.mktemp("laboratory")
    rng = np.random.default_rng(0)
    for label in CLASSES:
        (place / label).mkdir()
        for number in range(4):
            yellow = draw_photo(label, rng=rng).image * np.array([1.0, 0.95, 0.75])
            Image.fromarray(yellow.astype(np.uint8)).save(place / label / f"{number}.png")
    return place


def test_the_adapted_model_is_a_model_like_others(folder, tmp_path):
    found = adapt(folder, tmp_path / "ours.onnx", model=SHIPPED_MODEL)
    assert found.facts["n_cells"] == 16
    assert 0 <= found.after["macro_f1"] <= 1
    model = OnnxClassifier.load(tmp_path / "ours.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, *model.size, 3), dtype=np.uint8)
    logits, feature_map = model.run(images)
    x = feature_map.mean(axis=(1, 2))
    for number, (kernel, bias) in enumerate(model.head):
        x = x @ kernel + bias
        x = x if number == len(model.head) - 1 else np.maximum(x, 0)
    np.testing.assert_allclose(logits, x, atol=2e-3)
    assert model.meta["adapted"]["n_cells"] == 16
    table = "file,label,patient\n" + "\n".join(
        f"{path.relative_to(folder)},{path.parent.name},{path.stem}"
        for path in sorted(folder.glob("*/*.png"))
    )
    (folder / "labels.csv").write_text(table)
    assert read_labelled(folder / "labels.csv")["group"].nunique() == 4


def test_cells_that_were_labelled_are_cells_afterwards(folder, tmp_path):
    adapt(folder, tmp_path / "ours.onnx", model=TRAVELLING_MODEL)
    model = OnnxClassifier.load(tmp_path / "ours.onnx")
    assert model.meta["thresholds"]["a_cell_above"] == pytest.approx(model.presence.threshold)
    report = label_images([folder], model=tmp_path / "ours.onnx", complain=lambda _: None)
    assert report.counts["not_a_cell"] == 0
    assert report.images == 16


def test_bad_labels_are_one_line(folder, tmp_path):
    def refused(given, match, **options):
        with pytest.raises(HematoVisionError, match=match) as caught:
            adapt(given, tmp_path / "no.onnx", model=SHIPPED_MODEL, **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "no.onnx").exists()

    def laid(**classes):
        place = tmp_path / "-".join(classes)
        for label, numbers in classes.items():
            (place / label).mkdir(parents=True)
            for number in numbers:
                source = folder / "monocyte" / f"{number}.png"
                (place / label / f"{number}.png").write_bytes(source.read_bytes())
        return place

    refused(laid(monocyte=range(4)), "two class folders")
    refused(laid(monocyte=[0], neutrophil=[1]), "at least 5")
    refused(laid(monocyte=[0, 1, 2], blast=[3]), "blast")
    refused(laid(lymphocyte=[0, 1, 2], eosinophil=[2, 3]), "same file")
    (tmp_path / "wrong.csv").write_text("file,label\nnowhere.png,monocyte\nno.png,neutrophil\n")
    refused(tmp_path / "wrong.csv", "lead nowhere")
    refused(tmp_path / "nothing", "cannot be read")


def test_the_command_needs_no_tensorflow(folder, tmp_path):
    script = """
import sys
from hv_utils.cli import hv
hv(sys.argv[1:], standalone_mode=False)
assert not {"tensorflow", "keras"} & set(sys.modules)
"""
    arguments = ["adapt", folder, "--out", tmp_path / "ours.onnx", "--model", SHIPPED_MODEL]
    command = [sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "16 labelled cells" in result.stdout
    assert "macro_f1" in result.stdout


def test_several_cells_of_one_picture_are_told_apart_by_their_places(tmp_path):
    pictures = [draw_photo(name, rng=np.random.default_rng(4)).image for name in CLASSES]
    Image.fromarray(np.hstack(pictures)).save(tmp_path / "field.png")
    cells = find_cells(np.hstack(pictures)).cells
    assert len(cells) >= 2
    lines = [
        f"field.png,{CLASSES[n]},{cell.x:.1f},{cell.y:.1f}" for n, cell in enumerate(cells[:4])
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,x,y", *lines]))
    table = read_labelled(tmp_path / "labels.csv")
    assert len(table) == len(lines)
    model = OnnxClassifier.load(TRAVELLING_MODEL)
    places = [*zip(table["x"], table["y"], strict=True), (3.0, 3.0)]
    hidden, _, reasons = hidden_of(model, [table["path"][0]] * len(places), places=places)
    assert len(np.unique(hidden[:-1], axis=0)) == len(lines)
    assert np.isnan(hidden[-1]).all()
    assert "none is found there" in reasons[-1]
    with pytest.raises(HematoVisionError, match="without x and y for a model of whole pictures"):
        hidden_of(OnnxClassifier.load(SHIPPED_MODEL), [table["path"][0]], places=places[:1])
    (tmp_path / "labels.csv").write_text("file,label,x,y\nfield.png,monocyte,left,3")
    with pytest.raises(HematoVisionError, match="expected pixels in the column x"):
        read_labelled(tmp_path / "labels.csv")
