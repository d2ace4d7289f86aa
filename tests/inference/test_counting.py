"""`hv count`: fields in, a row a cell and a differential out; nothing made up, nothing lost."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from hv_utils.cli import hv
from hv_utils.drawn.smear import draw_photo
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES, KINDS
from hv_utils.inference.count_report import Count
from hv_utils.inference.counting import COLUMNS, CountedField, count_fields
from hv_utils.inference.onnx_model import SHIPPED_MODEL


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    rng = np.random.default_rng(3)
    for number, label in enumerate(CLASSES):
        Image.fromarray(draw_photo(label, rng=rng).image).save(folder / f"{number}-{label}.png")
    return folder


def test_a_row_a_cell_and_the_counts_that_follow_from_them(fields, tmp_path):
    lines = []
    found = count_fields(
        [fields],
        csv=tmp_path / "c.csv",
        json=tmp_path / "c.json",
        overlays=tmp_path / "drawn",
        complain=lines.append,
    )
    table = pd.read_csv(tmp_path / "c.csv", keep_default_na=False)
    assert list(table.columns) == COLUMNS
    assert set(table["kind"]) <= {"white", "red", "platelet"}
    facts = json.loads((tmp_path / "c.json").read_text())
    assert facts["cells"] == {
        kind: int((table["kind"] == kind).sum()) for kind in ("white", "red", "platelet")
    }
    assert facts["cells"]["white"] == len(CLASSES)
    assert facts["cells"]["red"] > 10
    white = table[table["kind"] == "white"]
    outside = sum(facts["apart"][name] for name in ("not_a_cell", "erythroblast", "platelet"))
    shared = sum(row["count"] for row in facts["differential"].values())
    assert shared + outside == len(white)
    assert (white["xmax"] > white["xmin"]).all()
    assert (table.loc[table["kind"] != "white", "predicted"] == "").all()
    assert len(list((tmp_path / "drawn").glob("*-counted.png"))) == len(CLASSES)
    assert "4 fields: 4 white cells" in found.text()
    assert "white cells are few" in found.text()
    assert "no concentration" in found.text()


def test_the_same_command_goes_on_where_it_stopped(fields, tmp_path):
    fields = shutil.copytree(fields, tmp_path / "own")
    whole = tmp_path / "whole.csv"
    count_fields([fields], csv=whole, complain=lambda line: None)
    text = whole.read_text().splitlines(keepends=True)

    def stop(line):
        if "broken" in line:
            raise KeyboardInterrupt

    table = tmp_path / "c.csv"
    bad = fields / "9-broken.png"
    bad.write_text("no image")
    with pytest.raises(KeyboardInterrupt):
        count_fields([fields], csv=table, complain=stop)
    partial = next(tmp_path.glob("c.csv.*.partial"))
    assert partial.read_text() == "".join(text), "the fields before the broken one were kept"
    lines = []
    found = count_fields([fields], csv=table, complain=lines.append)
    assert lines[0].startswith("going on: 3 of 5 fields"), "the last field may lack rows"
    assert table.read_text() == "".join(text)
    assert found.found["white"] == len(CLASSES)
    assert found.unreadable == 1


def blank(path, level=235):
    Image.fromarray(np.full((480, 640, 3), level, np.uint8)).save(path)


def test_fields_that_cannot_be_counted_are_told_and_the_others_are_counted(fields, tmp_path):
    blank(tmp_path / "blank.png")
    blank(tmp_path / "black.png", 0)
    first = sorted(fields.iterdir())[0]
    image = cv2.imread(str(first))
    cv2.imwrite(str(tmp_path / "blurred.png"), cv2.GaussianBlur(image, (0, 0), 12))
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    Image.fromarray(np.zeros((10, 10, 3), np.uint8)).save(tmp_path / "tiny.png")
    lines = []
    found = count_fields([tmp_path, first], complain=lines.append)
    told = {name: [line for line in lines if name in line] for name in
            ("blank", "black", "blurred", "tiny")}  # fmt: skip
    for name in ("blank", "black"):
        assert any("nothing stands out" in line for line in told[name]), (name, lines)
        (own,) = (facts for path, facts in found.fields.items() if name in path)
        assert own["white"] == own["red"] == own["platelet"] == 0
    assert any("out of focus" in line for line in told["blurred"]), lines
    assert any("expected" in line for line in told["tiny"])
    assert found.unreadable == 1
    assert found.found["white"] >= 1


def test_a_thick_area_is_no_field_to_count(tmp_path):
    rng = np.random.default_rng(0)
    photo = draw_photo("lymphocyte", rng=rng).image
    shifts = [(dy, dx) for dy in (0, 55) for dx in (0, 70)]
    crowded = np.minimum.reduce([np.roll(photo, shift, (0, 1)) for shift in shifts])
    Image.fromarray(crowded).save(tmp_path / "thick.png")
    lines = []
    count_fields([tmp_path / "thick.png"], complain=lines.append)
    assert any("a count there is no count" in line for line in lines), lines


def test_a_scale_of_another_microscope_is_noticed(fields):
    lines = []
    count_fields([sorted(fields.iterdir())[0]], um_per_pixel=0.2, complain=lines.append)
    assert any("is it of another microscope" in line for line in lines), lines


def test_a_model_of_whole_pictures_is_refused(fields):
    with pytest.raises(HematoVisionError, match="expected a model of cells"):
        count_fields([fields], model=SHIPPED_MODEL)


def row(predicted, status="ok", **probs):
    own = {f"prob_{name}": probs.get(name, 0.0) for name in KINDS}
    box = {"xmin": 0, "ymin": 0, "xmax": 10, "ymax": 10}
    return {"kind": "white", "predicted": predicted, "status": status, "confidence": 0.9,
            "path": "f.png", **box, **own}  # fmt: skip


FIELD = CountedField(
    "f.png",
    [
        row("neutrophil", neutrophil=1.0),
        row("neutrophil", neutrophil=1.0),
        row("monocyte", "unsure", monocyte=0.6, lymphocyte=0.4),
        row("erythroblast", erythroblast=1.0),
        row("", "not_a_cell"),
    ],
    [],
)


@pytest.mark.parametrize(
    ("doubtful", "expected"),
    [
        ("apart", {"neutrophil": 2, "monocyte": 0, "unsure": 1}),
        ("left-out", {"neutrophil": 2, "monocyte": 0}),
        ("shared-out", {"neutrophil": 2, "monocyte": 0.6, "lymphocyte": 0.4}),
    ],
)
def test_doubtful_cells_go_where_the_user_says(doubtful, expected):
    count = Count({"classes": KINDS}, doubtful=doubtful)
    count.add(FIELD)
    counts = count.counts()
    assert {name: counts[name] for name in expected} == pytest.approx(expected)
    assert "erythroblast" not in counts, "a nucleated red cell is no white cell"
    assert ("unsure" in counts) == (doubtful == "apart")
    facts = count.facts()
    assert facts["apart"]["erythroblast"] == 1
    assert facts["apart"]["not_a_cell"] == 1
    (finding,) = count.findings_in(FIELD)
    assert finding.startswith("finding: erythroblast")
    assert "no diagnosis" in finding


def test_corrected_shares_need_the_balance_of_the_training():
    with pytest.raises(HematoVisionError, match="class balance of its training"):
        Count({"classes": KINDS}, rebalance=True)
    balance = {name: 1 / len(KINDS) for name in KINDS}
    count = Count({"classes": KINDS, "learnt_shares": balance}, rebalance=True)
    count.add(FIELD)
    corrected = count.facts()["differential"]["neutrophil"]["rebalanced"]
    assert corrected["low"] <= corrected["share"] <= corrected["high"]
    assert "corrected, %" in count.text()


def test_the_shipped_model_tells_its_balance(fields):
    found = count_fields([fields], rebalance=True, complain=lambda line: None)
    assert "rebalanced" in found.facts()["differential"]["neutrophil"]


def test_the_command_ends_with_one_where_a_field_cannot_be_read(fields, tmp_path):
    (tmp_path / "torn.png").write_text("no image")
    done = CliRunner().invoke(hv, ["count", str(tmp_path / "torn.png"), str(fields)])
    assert done.exit_code == 1
    assert "torn.png" in done.stderr
    assert "4 fields: 4 white cells" in done.stdout
