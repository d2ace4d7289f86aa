"""The contact sheet: the right cells, in the right order, at one scale."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hv_utils.figures.crops import contact_sheet, crop
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.voc import Box, annotation_path, write_boxes

MARK = (200, 30, 90)


@pytest.fixture
def photos(tmp_path):
    """Write photos whose white cell is a square of its own tone, two of them doubtful."""
    rows = []
    for number in range(8):
        path = tmp_path / "JPEGImages" / f"BloodImage_{number:05d}.png"
        annotation_path(path).parent.mkdir(exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        image = np.zeros((60, 80, 3), np.uint8)
        image[10:20, 40:50] = 100 + number
        Image.fromarray(image).save(path)
        boxes = [Box("RBC", 0, 0, 5, 5), Box("WBC", 40, 10, 49, 19)]
        write_boxes(annotation_path(path), boxes, photo=path.name, size=(60, 80))
        label = ("b", "a")[number % 2]
        rows.append((str(path), label, "several cells" if number == 1 else "", int(number != 2)))
    return pd.DataFrame(rows, columns=["path", "label", "doubt", "white_cells"])


def test_a_crop_holds_the_box_in_its_middle():
    image = np.zeros((100, 120, 3), np.uint8)
    image[40:51, 60:71] = MARK
    cut = crop(image, Box("WBC", 60, 40, 70, 50), side=31)
    assert cut.shape == (31, 31, 3)
    assert tuple(cut[15, 15]) == MARK
    rows, columns = np.nonzero(cut[..., 0])
    assert (rows.min() + rows.max()) / 2 == pytest.approx(15, abs=0.5)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(15, abs=0.5)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (110, 0), (0, 90), (110, 90)])
def test_at_the_edges_a_crop_keeps_its_size(x, y):
    image = np.zeros((100, 120, 3), np.uint8)
    image[y : y + 10, x : x + 10] = MARK
    cut = crop(image, Box("WBC", x, y, x + 9, y + 9), side=40)
    assert cut.shape == (40, 40, 3)
    assert (cut[..., 0] == MARK[0]).sum() == 100, "the whole cell is in it"


def test_a_photo_smaller_than_the_crop_is_given_whole():
    assert crop(np.zeros((20, 30, 3), np.uint8), Box("WBC", 1, 1, 5, 5), side=50).shape == (
        20,
        30,
        3,
    )


def test_the_sheet_has_a_row_a_class_and_leaves_out_what_is_doubtful(photos):
    images, labels = contact_sheet(photos, classes=["a", "b"], per_class=3, side=20)
    assert labels == ["a"] * 3 + ["b"] * 3
    # Photo 1 is doubtful and photo 2 has no white cell.
    assert [int(image.max()) - 100 for image in images] == [3, 5, 7, 0, 4, 6]
    assert {image.shape for image in images} == {(20, 20, 3)}


def test_too_few_cells_are_refused_in_one_line(photos):
    with pytest.raises(HematoVisionError, match="expected 4 photos of class a") as caught:
        contact_sheet(photos, classes=["a", "b"], per_class=4)
    assert "\n" not in str(caught.value)
