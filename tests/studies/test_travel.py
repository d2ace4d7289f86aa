"""Lessons of two laboratories: one look, another look, and tables that say what was measured."""

import json

import numpy as np
import pytest

from hv_utils.drawn.smear import draw_photo
from hv_utils.inference.onnx_model import facts_path
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.studies import published, travel


@pytest.fixture(scope="module")
def photo():
    return draw_photo("neutrophil", rng=np.random.default_rng(4)).image


def test_the_view_takes_back_what_the_other_laboratory_has_changed(photo):
    away = travel.foreign(photo)
    assert away.shape[0] == round(0.6 * photo.shape[0])
    home, other = travel.prepared(photo), travel.prepared(away)
    apart = [np.abs(a.astype(int) - b).mean() for a, b in zip(home, other, strict=True)]
    assert apart[0] > 15, "another lamp, another stain"
    assert apart[2] < apart[0] / 3
    assert apart[2] < apart[1] / 3, "the scale alone does not do it"
    assert apart[3] < apart[0] / 3


def test_a_picture_without_a_cell_stays_whole():
    blank = np.full((100, 120, 3), 230, np.uint8)
    first, *others = travel.prepared(blank)
    assert all((first == other).all() for other in others)


def test_tables_say_what_was_measured_and_are_empty_without():
    rows = [
        {"prepared": p, "taught": t, "judged": j, "macro_f1": 0.5, "low": 0.4, "high": 0.6}
        for p in ("resized", "found")
        for t in ("b", "a")
        for j in ("z", "y")
    ]
    table = travel.leave_one_out_table(rows)
    assert list(table.columns) == ["z", "y"], "in the order measured"
    assert list(table.index[:2]) == [("resized", "b"), ("resized", "a")]
    assert table.iloc[0, 0] == "0.500 (0.400 to 0.600)"
    assert travel.leave_one_out_table([]).empty
    assert travel.models_table({}).empty
    assert travel.labels_table({}).empty


def test_the_published_scores_are_those_of_the_shipped_model():
    shipped = json.loads(facts_path(TRAVELLING_MODEL).read_text())["sha256"]
    measured = published.measurement("laboratories")["models"]["travelling"]
    assert measured["sha256"] == shipped
    assert published.measurement("adaptation")["sha256"] == shipped
    assert {"raabin", "zheng 1", "pbc held out"} <= set(measured["sets"])
