"""The ruler: red cells of drawn photos give the scale; where it is given it is taken."""

import cv2
import numpy as np
import pytest

from hv_utils.drawn.smear import draw_photo
from hv_utils.fields.scale import measure_scale
from hv_utils.images.labels import CLASSES
from hv_utils.images.voc import RED_CELL


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(1)
    return [draw_photo(label, rng=rng) for label in CLASSES * 3]


def true_scale(photo):
    """Return µm a pixel by the boxes of red cells that lie wholly in the frame."""
    height, width = photo.image.shape[:2]
    sides = [
        (box.xmax - box.xmin + box.ymax - box.ymin + 2) / 2
        for box in photo.boxes
        if box.name == RED_CELL
        and min(box.xmin, box.ymin) > 0
        and box.xmax < width - 1
        and box.ymax < height - 1
    ]
    return 7.5 / np.median(sides)


def test_red_cells_are_the_ruler(photos):
    ratios = []
    for photo in photos:
        scale, _ = measure_scale(photo.image)
        assert scale.ruler == "red cells"
        assert scale.n_red >= 2
        ratios.append(scale.um_per_pixel / true_scale(photo))
    assert np.abs(np.array(ratios) - 1).max() < 0.2


@pytest.mark.parametrize("zoom", [0.25, 0.5, 2.0])
def test_the_scale_follows_the_size(photos, zoom):
    for photo in photos[:4]:
        small = cv2.resize(photo.image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        whole, part = measure_scale(photo.image)[0], measure_scale(small)[0]
        assert part.um_per_pixel * zoom == pytest.approx(whole.um_per_pixel, rel=0.15)


def test_a_close_crop_is_measured_by_the_white_cell(photos):
    rulers = []
    for photo in photos:
        ys, xs = np.nonzero(photo.cell_mask)
        crop = photo.image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].copy()
        crop[~photo.cell_mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]] = 235
        scale, _ = measure_scale(crop)
        rulers.append(scale.ruler)
        assert 0.5 < scale.um_per_pixel / true_scale(photo) < 2
    assert rulers.count("white cell") > len(rulers) / 2, "coarse granules look like outlines"


def test_a_scale_that_is_given_is_taken(photos):
    scale, stain = measure_scale(photos[0].image, 0.2)
    assert (scale.um_per_pixel, scale.ruler) == (0.2, "given")
    height, width = photos[0].image.shape[:2]
    shape = round(height * scale.shrink), round(width * scale.shrink)
    assert stain.nuclear.shape == shape
    assert scale.um_at_work == pytest.approx(0.2 / scale.shrink)
