"""`hv review`: cells are cut out of their pictures, and one file holds all."""

import base64
import io
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from reviewed import COLUMNS, draw_fields, rows_of, write_table

from hv_utils.cli import hv
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.voc import CORNERS
from hv_utils.serve.crops import CROP_SIDE, fields_of
from hv_utils.serve.review import write_review
from hv_utils.serve.verdicts import read_verdicts


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_fields(tmp_path_factory.mktemp("fields"), 6)


def facts(page) -> dict:
    found = re.search(r'id="facts">(.*?)</script>', page.read_text("utf-8"))
    return json.loads(found[1])


def test_a_crop_shows_the_cell_and_its_box_encloses_it(drawn, tmp_path):
    table = read_verdicts(write_table(tmp_path / "verdicts.csv", rows_of(drawn)))
    for (field, numbers), (_, _, x, y) in zip(fields_of(table.verdicts), drawn, strict=True):
        assert len(numbers) == 1
        crop = np.array(Image.open(io.BytesIO(base64.b64decode(field.crops[0]))))
        assert crop.shape == (CROP_SIDE, CROP_SIDE, 3)
        middle, all_round = crop[60:116, 60:116], crop
        assert middle[..., 0].mean() < all_round[..., 0].mean(), "the nucleus is in the middle"
        x0, y0, x1, y1 = field.boxes[0]
        assert x0 < x < x1
        assert y0 < y < y1


def test_two_cells_of_a_field_share_its_picture(drawn, tmp_path):
    rows = rows_of(drawn[:1]) * 2
    rows[1] = rows[1] | {"cell": 2, "x": 40, "y": 40}
    write_review(write_table(tmp_path / "verdicts.csv", rows), tmp_path / "review.html")
    told = facts(tmp_path / "review.html")
    assert len(told["fields"]) == 1
    assert len({cell["id"] for cell in told["cells"]}) == 2


def test_boxes_of_a_count_are_shown_as_they_are(drawn, tmp_path):
    columns = [*COLUMNS[:4], "kind", *CORNERS]
    row = rows_of(drawn)[0] | {"kind": "white"} | dict(zip(CORNERS, (5, 9, 80, 90), strict=True))
    table = write_table(tmp_path / "cells.csv", [{name: row[name] for name in columns}], columns)
    write_review(table, tmp_path / "review.html")
    (cell,) = facts(tmp_path / "review.html")["cells"]
    assert cell["box"] == [5, 9, 80, 90]
    assert cell["middle"] == [42.5, 49.5]
    assert facts(tmp_path / "review.html")["classes"] == [row["predicted"]]


def test_the_review_is_named_by_its_cells_and_verdicts(drawn, tmp_path):
    def review(rows):
        write_review(write_table(tmp_path / "verdicts.csv", rows), tmp_path / "review.html")
        return facts(tmp_path / "review.html")["review"]

    rows = rows_of(drawn)
    assert review(rows) == review(rows)
    assert review(rows) != review(rows[:-1])
    assert review(rows) != review([{**row, "predicted": "monocyte"} for row in rows])


def test_the_page_holds_everything_and_names_cannot_break_it(drawn, tmp_path):
    evil = tmp_path / "<script>alert(1)<.jpg"
    evil.write_bytes(drawn[0][0].read_bytes())
    rows = [rows_of(drawn)[0] | {"path": evil, "why": "</script><b>"}]
    write_review(write_table(tmp_path / "verdicts.csv", rows), tmp_path / "review.html")
    text = (tmp_path / "review.html").read_text("utf-8")
    assert "alert(1)<" not in text
    assert facts(tmp_path / "review.html")["cells"][0]["why"] == "</script><b>"
    assert not re.findall(r'(?:src|href)="(?!#)[^"]', text), "nothing is loaded"
    assert not re.findall(r"/\* (?:style|script|facts) \*/|<!-- pictures -->", text)


def test_pictures_that_have_changed_are_one_line(drawn, tmp_path):
    small = tmp_path / "small.png"
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(small)
    rows = [rows_of(drawn)[0] | {"path": small, "x": 400, "y": 30}]
    table = write_table(tmp_path / "verdicts.csv", rows)
    with pytest.raises(HematoVisionError, match="only 64x64 pixels: it has changed"):
        write_review(table, tmp_path / "review.html")
    assert not (tmp_path / "review.html").exists()


def test_the_command_says_what_it_wrote(drawn, tmp_path):
    rows = rows_of(drawn)
    rows.append({"path": "gone.jpg", "status": "unreadable"})
    table = write_table(tmp_path / "verdicts.csv", rows, COLUMNS)
    out = tmp_path / "page.html"
    done = CliRunner().invoke(hv, ["review", str(table), "--out", str(out), "--blind"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"review of 7 cells in 7 pictures: {out}")
    assert facts(out)["blind"] is True
    with pytest.raises(HematoVisionError, match=r"ending in \.html"):
        write_review(table, tmp_path / "page.csv")
