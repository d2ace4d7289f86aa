"""Tables of verdicts: what predict and count write is read, anything else is one line."""

import os

import pytest
from reviewed import COLUMNS, draw_fields, rows_of, write_table

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES, KINDS
from hv_utils.serve.verdicts import newer_pictures, read_verdicts

COUNTED = ["path", "kind", "predicted", "confidence", "status", "xmin", "ymin", "xmax", "ymax"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_fields(tmp_path_factory.mktemp("fields"), 4)


def test_a_table_of_predict_is_read(drawn, tmp_path):
    rows = rows_of(drawn)
    rows[3] |= dict.fromkeys(COLUMNS[1:], "") | {"status": "unreadable", "path": "gone.jpg"}
    table = read_verdicts(write_table(tmp_path / "verdicts.csv", rows))
    assert table.classes == list(CLASSES)
    first = table.verdicts[0]
    assert first.path == drawn[0][0]
    assert first.middle == drawn[0][2:]
    assert first.confidence == rows[0]["confidence"]
    assert len(first.probs) == 4
    assert table.verdicts[3].confidence is None
    assert set(table.choices()) == set(KINDS)


def test_of_a_table_of_count_the_white_cells_are_taken(drawn, tmp_path):
    places = dict(zip(COUNTED[5:], (10, 20, 50, 80), strict=True))
    white = {"path": drawn[0][0], "kind": "white", "predicted": "monocyte", "confidence": 0.9}
    red = {"path": drawn[0][0], "kind": "red", **places}
    rows = [white | places | {"status": "ok"}, red, red | {"kind": "platelet"}]
    (only,) = read_verdicts(write_table(tmp_path / "cells.csv", rows, COUNTED)).verdicts
    assert only.box == (10, 20, 50, 80)
    assert only.middle == (30, 50)
    with pytest.raises(HematoVisionError, match="1 to 2,000 white cells"):
        read_verdicts(write_table(tmp_path / "red.csv", rows[1:], COUNTED))


def test_other_classes_bring_no_blood_cells(drawn, tmp_path):
    row = {"path": drawn[0][0], "predicted": "cat", "confidence": 0.9, "status": "ok"}
    columns = [*COLUMNS[:4], "prob_cat", "prob_dog"]
    table = read_verdicts(write_table(tmp_path / "pets.csv", [row], columns))
    assert table.choices() == ["cat", "dog"]


def test_pictures_are_found_beside_the_table(drawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = rows_of(drawn)[0] | {"path": drawn[0][0].name}
    table = read_verdicts(write_table(drawn[0][0].parent / "verdicts.csv", [row]))
    assert table.verdicts[0].path == drawn[0][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": "gone.jpg"}, "1 of 2 are not there, such as gone.jpg"),
        ({"status": "fine"}, "has 'fine'"),
        ({"confidence": "high"}, "numbers in confidence"),
    ],
)
def test_what_is_wrong_in_a_row_is_one_line(drawn, tmp_path, change, words):
    rows = rows_of(drawn[:2])
    rows[1] |= change
    with pytest.raises(HematoVisionError, match=words) as caught:
        read_verdicts(write_table(tmp_path / "verdicts.csv", rows))
    assert "\n" not in str(caught.value)


def test_other_tables_are_refused(tmp_path):
    (tmp_path / "other.csv").write_text("file,label\na.png,monocyte\n")
    with pytest.raises(HematoVisionError, match="a column called path"):
        read_verdicts(tmp_path / "other.csv")
    with pytest.raises(HematoVisionError, match="being written"):
        read_verdicts(tmp_path / "verdicts.csv.123.partial")


def test_pictures_newer_than_their_table_are_named(drawn, tmp_path):
    path = write_table(tmp_path / "verdicts.csv", rows_of(drawn))
    assert newer_pictures(read_verdicts(path)) == []
    os.utime(path, (0, 0))
    assert len(newer_pictures(read_verdicts(path))) == 4
