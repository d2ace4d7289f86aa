"""Boxes of the photos: read as written, refused where they make no sense."""

import zipfile

import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import MICROMETRES_PER_PIXEL, RED_CELL_UM
from hv_utils.images.voc import Box, read_boxes, white_cell, write_boxes

BOXES = [Box("WBC", 10, 20, 200, 210), Box("RBC", 0, 0, 90, 80), Box("Platelets", 600, 5, 640, 30)]


def voc(path, objects):
    path.write_text(f"<annotation>{objects}</annotation>", encoding="utf-8")
    return path


def one(corners, name="WBC"):
    tags = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
    return f"<object><name>{name}</name><bndbox>{tags}</bndbox></object>"


def test_what_is_written_is_read(tmp_path):
    path = write_boxes(tmp_path / "a.xml", BOXES, photo="a.jpg", size=(480, 640))
    assert read_boxes(path) == BOXES
    text = path.read_text(encoding="utf-8")
    assert "<width>640</width>" in text
    assert "<height>480</height>" in text
    truncated = [line.strip()[11] for line in text.splitlines() if "<truncated>" in line]
    assert truncated == ["0", "1", "1"], "boxes that touch the edge are truncated"


def test_order_of_tags_and_decimals_do_not_matter(tmp_path):
    corners = {"ymax": "7.6", "xmin": " 1 ", "ymin": "2.0", "xmax": "5"}
    assert read_boxes(voc(tmp_path / "a.xml", one(corners))) == [Box("WBC", 1, 2, 5, 8)]


def test_no_boxes_is_no_error(tmp_path):
    assert read_boxes(voc(tmp_path / "a.xml", "")) == []


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (one({"xmin": 1, "ymin": 2, "xmax": 5}), "four numbers"),
        (one({"xmin": 1, "ymin": 2, "xmax": 5, "ymax": "many"}), "four numbers"),
        (one({"xmin": 1, "ymin": 2, "xmax": 5, "ymax": "inf"}), "four numbers"),
        (one({"xmin": 9, "ymin": 2, "xmax": 5, "ymax": 7}), "corners are swapped"),
        ("<object>", "not XML"),
    ],
)
def test_broken_annotations_are_refused_in_one_line(tmp_path, objects, message):
    with pytest.raises(HematoVisionError, match=message) as caught:
        read_boxes(voc(tmp_path / "broken.xml", objects))
    assert "broken.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 a photo, not a text"])
def test_files_of_another_kind_are_refused(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(HematoVisionError, match="not XML"):
        read_boxes(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HematoVisionError, match=r"expected an annotation file at .*none\.xml"):
        read_boxes(tmp_path / "none.xml")


@pytest.mark.real
def test_real_annotations_give_the_scale_of_the_drawing(real_archive, tmp_path):
    """The red cells of the real photos are as wide as a red cell at the scale that we draw at."""
    with zipfile.ZipFile(real_archive) as archive:
        names = [name for name in archive.namelist() if name.endswith(".xml")]
        archive.extractall(tmp_path, names)
    boxes = [box for name in names for box in read_boxes(tmp_path / name)]
    red = [box for box in boxes if box.name == "RBC"]
    assert len(names) == 364
    assert len(red) > 3000
    whole = [b for b in red if min(b.xmin, b.ymin) > 2 and b.xmax < 638 and b.ymax < 478]
    side = np.median([(b.xmax - b.xmin + b.ymax - b.ymin) / 2 for b in whole])
    assert RED_CELL_UM[0] < side * MICROMETRES_PER_PIXEL < RED_CELL_UM[1]


def test_the_largest_white_cell_comes_first():
    boxes = [Box("WBC", 0, 0, 5, 5), Box("RBC", 0, 0, 90, 90), Box("WBC", 9, 9, 30, 20)]
    assert white_cell(boxes) == boxes[2]
    assert white_cell(boxes[1:2]) is None
