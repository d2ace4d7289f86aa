"""The detector: drawn cells are found, once each, whatever the size and scale of the field."""

import cv2
import numpy as np
import pytest

from hv_utils.drawn.smear import draw_photo
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES
from hv_utils.images.voc import PLATELETS, RED_CELL, WHITE_CELL
from hv_utils.inference.detector import FIELD_KINDS, PLATELET, RED, SEAM, TILE, WHITE, Detector
from hv_utils.inference.detector import tiles as cut
from hv_utils.inference.onnx_model import SHIPPED_MODEL
from hv_utils.scores.detection import match

NAMES = dict(zip(FIELD_KINDS, (WHITE_CELL, RED_CELL, PLATELETS), strict=True))


@pytest.fixture(scope="module")
def detector():
    return Detector.load()


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(5)
    return [draw_photo(label, rng=rng) for label in CLASSES * 4]


def boxes_of(photo, kind):
    named = [box for box in photo.boxes if box.name == NAMES[kind]]
    return np.array([(b.xmin, b.ymin, b.xmax, b.ymax) for b in named], float).reshape(-1, 4)


def test_drawn_cells_are_found(detector, photos):
    shares = {}
    for kind, least in ((WHITE, 1.0), (RED, 0.9), (PLATELET, 0.45)):
        rows = []
        for photo in photos:
            found = detector(photo.image).of(kind)
            rows.append(match(found.boxes, found.scores, boxes_of(photo, kind)))
        shares[kind] = sum(row.right.sum() for row in rows) / sum(row.n_true for row in rows)
        assert shares[kind] >= least, shares
        false = np.mean([(~row.right).sum() for row in rows])
        assert false <= (0.1 if kind == WHITE else 1.5), kind


def test_boxes_lie_in_the_field_and_the_surest_come_first(detector, photos):
    found = detector(photos[0].image)
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2] <= 640).all()
    assert (found.boxes[:, 3] <= 480).all()
    assert (np.diff(found.scores) <= 0).all()


def test_scale_and_turn_leave_the_white_cell_where_it_is(detector, photos):
    for image in (photo.image for photo in photos[:4]):
        (box,) = detector(image).of(WHITE).boxes
        large = cv2.resize(image, None, fx=1.7, fy=1.7)
        (again,) = detector(large).of(WHITE).boxes
        assert again / 1.7 == pytest.approx(box, abs=16)
        (turned,) = detector(np.ascontiguousarray(image[::-1, ::-1])).of(WHITE).boxes
        assert np.array([640, 480] * 2) - turned[[2, 3, 0, 1]] == pytest.approx(box, abs=16)


def test_no_cell_is_counted_twice_at_a_seam(detector, photos):
    """A field of many photographs side by side has as many white cells as they have together."""
    rows = [np.hstack([photo.image for photo in photos[i : i + 4]]) for i in (0, 4, 8, 12)]
    mosaic = np.vstack(rows * 2)  # 2560 x 3840: more than one tile each way
    found = detector(mosaic)
    assert len(found.of(WHITE).boxes) == 2 * len(photos)
    alone = sum(len(detector(photo.image).of(RED).boxes) for photo in photos)
    assert len(found.of(RED).boxes) == pytest.approx(2 * alone, rel=0.1)


@pytest.mark.parametrize("size", [(40, 50), (TILE, TILE), (TILE + 1, 2 * TILE), (2000, 900)])
def test_the_cores_of_the_tiles_fill_the_field_and_do_not_overlap(size):
    seen = np.zeros(size, int)
    for tile, corner, core in cut(np.zeros((*size, 3), np.uint8)):
        assert tile.shape[0] % 16 == tile.shape[1] % 16 == 0
        assert max(tile.shape) <= TILE
        x0, y0, x1, y1 = np.clip(core, 0, [size[1], size[0]] * 2).astype(int)
        seen[y0:y1, x0:x1] += 1
        inner = [x0 - corner[0], corner[0] + tile.shape[1] - x1]
        assert min(inner) >= 0
        if corner[0]:
            assert x0 - corner[0] >= SEAM // 2
    assert (seen == 1).all()


def test_what_is_no_detector_is_refused(tmp_path):
    with pytest.raises(HematoVisionError, match=r"a detector of cells, but .* is another model"):
        Detector.load(SHIPPED_MODEL)
    with pytest.raises(HematoVisionError, match="cannot be read"):
        Detector.load(tmp_path / "none.onnx")
    (tmp_path / "torn.onnx").write_bytes(b"\x08\x08")
    with pytest.raises(HematoVisionError, match=r"torn\.onnx"):
        Detector.load(tmp_path / "torn.onnx")
