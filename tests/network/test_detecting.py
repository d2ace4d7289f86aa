"""The detector's network: its targets, its loss, its graph, and a short training."""

import numpy as np
import pytest

from hv_utils.data.overlaps import group_photos, read_overlaps
from hv_utils.drawn.smear import draw_photo
from hv_utils.images.voc import write_boxes
from hv_utils.inference.detector import FIELD_KINDS, RED, STRIDE, Detector
from hv_utils.inference.onnx_model import INPUT, open_session
from hv_utils.network.detecting import DetectorTraining, finish, train
from hv_utils.network.detector import build_detector, detector_loss, targets, write_detector
from hv_utils.network.field_truth import (
    TrueField,
    drawn_fields,
    photographed_fields,
    photos_of_test,
)

BOXES = np.array([[16.0, 24, 48, 64], [80, 80, 120, 112]])
THRESHOLDS = dict.fromkeys(FIELD_KINDS, 0.3)


def test_targets_peak_at_the_middles_and_tell_the_boxes():
    drawn = targets(BOXES, np.array([0, 1]), 128)
    assert drawn.shape == (32, 32, len(FIELD_KINDS) + 5)
    for kind, (x0, y0, x1, y1) in enumerate(BOXES):
        row, column = int((y0 + y1) / 2 / STRIDE), int((x0 + x1) / 2 / STRIDE)
        heat = drawn[..., kind]
        assert heat[row, column] == 1
        assert (heat == 1).sum() == 1
        assert drawn[row, column, 3:7] * STRIDE == pytest.approx(BOXES[kind])
    assert drawn[..., 2].max() == 0


def test_what_may_be_a_cell_without_a_box_is_in_doubt_outside_the_boxes():
    stained = np.ones((32, 32), bool)
    heat = targets(BOXES, np.array([0, 1]), 128, stained=stained)[..., FIELD_KINDS.index(RED)]
    assert heat[0, 0] == 0.5
    assert heat[10, 5] == 0, "within the white cell's box there is no red one"


def test_the_loss_falls_to_nearly_nothing_for_the_right_answer():
    truth = targets(BOXES, np.array([0, 1]), 128)[None]
    right = np.full((1, 32, 32, 7), -9.0, np.float32)
    right[..., :3][truth[..., :3] == 1] = 9
    ys, xs = np.mgrid[0:32, 0:32] + 0.5
    corners = truth[0, ..., 3:7]
    reach = [xs - corners[..., 0], ys - corners[..., 1], corners[..., 2] - xs, corners[..., 3] - ys]
    right[0, ..., 3:] = np.log(np.maximum(np.stack(reach, axis=-1), 1e-3))
    worst = np.zeros_like(right)
    assert float(detector_loss(truth, right)[0]) < 0.2
    assert float(detector_loss(truth, worst)[0]) > 5


def test_the_graph_computes_what_keras_does():
    model = build_detector(seed=1)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    maps = model.predict(images.astype(np.float32), verbose=0)
    session = open_session(write_detector(model, THRESHOLDS).SerializeToString())
    heat, reach = session.run(None, {INPUT: images})
    assert heat == pytest.approx(1 / (1 + np.exp(-maps[..., :3])), abs=2e-3)
    assert reach == pytest.approx(np.exp(maps[..., 3:]), rel=2e-2)


@pytest.mark.slow
def test_a_short_training_learns_and_goes_on(tmp_path, capsys):
    fields = drawn_fields(6, seed=1)
    settings = DetectorTraining(passes=2, images=64, side=96, batch=8)
    _, whole = train(fields, fields[:1], settings, tmp_path / "whole")
    assert whole[1]["loss"] < whole[0]["loss"]
    (tmp_path / "whole" / "state.npz").rename(tmp_path / "state.npz")
    first = DetectorTraining(passes=2, images=64, side=96, batch=8)
    model, again = train(fields, fields[:1], first, tmp_path)
    assert again == whole, "all passes were there"
    path = finish(model, fields[:1], tmp_path)
    assert Detector.load(path).thresholds.shape == (3,)


def test_no_field_that_test_shows_is_learnt_from(tmp_path):
    """Each photograph behind TEST, and each that shows a part of its field, is left out."""
    barred = photos_of_test()
    pairs = read_overlaps()
    beside = set(pairs.loc[pairs["photo"].isin(barred), "other"]) | set(
        pairs.loc[pairs["other"].isin(barred), "photo"]
    )
    free = {"00000", "00002", "00003", "00011", "00012", "00013"} - barred - beside
    names = sorted(free | set(sorted(barred)[:3]) | set(sorted(beside)[:3]))
    photo = draw_photo("monocyte", rng=np.random.default_rng(0))
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).mkdir()
    from PIL import Image

    for name in names:
        stem = f"BloodImage_{name}"
        Image.fromarray(photo.image).save(tmp_path / "JPEGImages" / f"{stem}.jpg")
        write_boxes(
            tmp_path / "Annotations" / f"{stem}.xml", photo.boxes, photo=stem, size=(480, 640)
        )
    broken = sorted(free)[0]
    (tmp_path / "Annotations" / f"BloodImage_{broken}.xml").write_text("<annotation>")
    parts = photographed_fields(tmp_path)
    found = {field.name for part in parts.values() for field in part}
    groups = group_photos(names, pairs[pairs["photo"].isin(names) & pairs["other"].isin(names)])
    kept = {name for name in names if groups[name] not in {groups[b] for b in barred & set(names)}}
    assert found == kept - {broken}
    assert isinstance(next(field for part in parts.values() for field in part), TrueField)
