"""`hv versus`: which cells are asked, and what the page holds and does not show."""

import base64
import io
import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from drawn_run import CELLS, edit, make_drawn_run
from PIL import Image

from hv_utils.cli import hv
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from hv_utils.images.labels import CLASSES
from hv_utils.serve.held_out import HeldOut, from_archive, from_run
from hv_utils.serve.versus import curtain, read_versus, write_versus


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    return make_drawn_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(whole, tmp_path) -> Run:
    """A run whose tables a test may change; the pictures are those of `whole`."""
    for name in ("images.csv", "predictions.csv"):
        (tmp_path / name).write_bytes(whole.path(name).read_bytes())
    return Run.open(tmp_path)


# ------------------------------------------------------------------ which cells


def test_each_cell_is_shown_once_and_as_wholly_as_it_can_be(run):
    cells = from_run(run).cells
    assert sorted(cells["cell"]) == [f"{n:05d}" for n in range(sum(CELLS.values()))]
    assert cells["path"].str.contains("_0_").all(), "the other copy shows half of the cell"


def test_a_trap_and_a_second_photo_of_a_field_are_left_out(run):
    def change(images):
        images.loc[images["cell"] == "00003", "drawn_as"] = "monocyte"
        images.loc[images["cell"] == "00005", "group"] = "00004"
        return images

    edit(run, "images.csv", change)
    cells = set(from_run(run).cells["cell"])
    assert "00003" not in cells
    assert len(cells & {"00004", "00005"}) == 1
    assert len(cells) == sum(CELLS.values()) - 2


def test_a_cell_that_the_model_has_learnt_from_is_refused(run):
    edit(run, "images.csv", lambda t: t.assign(cell=t["cell"].replace("00100", "00000")))
    with pytest.raises(HematoVisionError, match=r"00000 of .* is on both sides"):
        from_run(run)


def test_pictures_that_are_gone_are_one_line(run):
    edit(run, "predictions.csv", lambda t: t.assign(path=t["path"] + ".gone"))
    with pytest.raises(HematoVisionError, match=r"\.gone is not there: run it here again"):
        from_run(run)


def test_a_run_whose_cells_are_not_known_shows_its_pictures(run):
    for name in ("images.csv", "predictions.csv"):
        edit(run, name, lambda t: t.assign(cell=pd.NA, group="patient 7"))
    held_out = from_run(run)
    assert len(held_out.cells) == 2 * sum(CELLS.values())
    assert "from 3 other pictures" in held_out.about


def test_it_says_what_the_cells_are_and_what_the_model_has_learnt_from(run):
    about = from_run(run).about
    assert about.startswith("The cells are drawn, none was photographed")
    assert "from 2 other cells and was tuned on 1 more; none of them is here." in about


@pytest.fixture
def many() -> HeldOut:
    labels = np.repeat(CLASSES, [30, 10, 50, 70])
    cells = pd.DataFrame({"label": labels, "path": [str(n) for n in range(160)]})
    return HeldOut(cells, "")


def test_classes_are_as_even_as_their_cells_allow(many):
    assert Counter(many.choose()["label"]) == dict(zip(CLASSES, (30, 10, 30, 30), strict=True))
    assert Counter(many.choose(40)["label"]) == dict.fromkeys(CLASSES, 10)
    assert len(many.choose(160)) == 160


def test_a_seed_is_a_draw(many):
    assert many.choose(40, seed=1).equals(many.choose(40, seed=1))
    assert not many.choose(40, seed=1).equals(many.choose(40, seed=2))


def test_shares_are_met_to_a_cell(many):
    shares = dict(zip(CLASSES, (0.05, 0.125, 0.075, 0.75), strict=True))
    assert Counter(many.choose(41, shares=shares)["label"]) == dict(
        zip(CLASSES, (2, 5, 3, 31), strict=True)
    )


@pytest.mark.parametrize(
    ("count", "shares", "said"),
    [
        (161, None, "at most 160 cells"),
        (40, {"monocyte": 1.0}, "a share of each of eosinophil, lymphocyte"),
        (40, dict.fromkeys(CLASSES, 0.3), "these sum to 1.2"),
        (40, dict(zip(CLASSES, (-1, 1, 1, 0), strict=True)), "0 or more"),
        (80, dict.fromkeys(CLASSES, 0.25), "20 cells of lymphocyte .* has 10"),
    ],
)
def test_what_the_cells_do_not_allow_is_refused(many, count, shares, said):
    with pytest.raises(HematoVisionError, match=said):
        many.choose(count, shares=shares)


@pytest.mark.real
@pytest.mark.slow
def test_the_real_set_is_judged_by_the_shipped_model(real_archive, tmp_path):
    held_out = from_archive(real_archive)
    assert held_out.cells["cell"].is_unique
    assert 60 <= len(held_out.cells) <= 71
    right = (held_out.cells["label"] == held_out.cells["predicted"]).mean()
    assert 0.8 < right < 1
    page = write_versus(tmp_path / "real.html", held_out)
    assert page.path.stat().st_size < 6e6
    assert "photographed" in page.facts["about"]


# ------------------------------------------------------------------ the page


@pytest.fixture(scope="module")
def page(whole, tmp_path_factory):
    return write_versus(tmp_path_factory.mktemp("page") / "versus.html", from_run(whole))


def test_the_page_can_be_read_again(page, whole):
    again = read_versus(page.path)
    assert (again.truth, again.verdicts) == (page.truth, page.verdicts)
    assert again.pictures == page.pictures
    right = sum(a == b for a, b in zip(page.truth, page.verdicts, strict=True))
    assert right == sum(CELLS.values()) - len(CELLS)


def test_the_source_does_not_show_what_is_right(page):
    text = page.path.read_text("utf-8")
    for name in CLASSES:  # once among the answers to choose from
        assert text.count(name) == 1 + text.split("<script>")[-1].count(name)
    (key,) = re.findall(r'"key": "([^"]+)"', text)
    assert b"neutrophil" not in base64.b64decode(key)
    assert b"neutrophil" in curtain(base64.b64decode(key), page.facts["page"])
    for picture in page.pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture)))
        assert not image.getexif()
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert ".jpeg" not in text
    assert "TEST" not in text


def test_the_page_asks_nobody_for_anything(page):
    text = page.path.read_text("utf-8")
    assert not re.findall(r"https?://|@import|url\(", text)
    assert not re.findall(r"/\* (?:style|script|facts) \*/|<!-- pictures -->", text)
    assert "default-src 'none'" in text


def test_a_page_is_known_by_what_it_asks(whole, tmp_path):
    def mark(**options):
        return write_versus(tmp_path / "a.html", from_run(whole), **options).facts["page"]

    first = mark(count=8)
    assert mark(count=8) == first
    assert len({first, mark(count=9), mark(count=8, seed=1), mark(count=8, seconds=5)}) == 4


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "only a part of one"),
        (lambda text: "<html></html>", "is none"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "HematoVision .*: use that"),
        (lambda text: text.replace("hematovision-versus", "hematovision-review"), "is none"),
    ],
)
def test_what_is_no_such_page_is_one_line(page, tmp_path, spoil, said):
    path = tmp_path / "bad.html"
    path.write_text(spoil(page.path.read_text("utf-8")))
    with pytest.raises(HematoVisionError, match=said):
        read_versus(path)


def test_the_command_says_what_it_wrote_and_refuses_what_has_no_effect(whole, tmp_path):
    def call(*words):
        return CliRunner().invoke(hv, ["versus", str(tmp_path / "page.html"), *words])

    run = ("--run", str(whole.folder))
    done = call(*run, "--cells", "8", "--seconds", "5", "--share", "eosinophil", "1")
    assert "a share of each of" in str(done.exception)
    done = call(*run, "--cells", "8", "--seconds", "5")
    assert done.output.startswith("you against the model: 8 cells (2 eosinophil, 2 lymphocyte, 2")
    assert json.loads(json.dumps(read_versus(tmp_path / "page.html").facts))["seconds"] == 5
    for words, said in [
        ((*run, "--archive", "a.zip"), "--archive or --run"),
        (("answers.json",), "expected --gather beside answers.json"),
        (("--out", "a.csv"), "expected --gather beside --out"),
        (("--gather", "a.json", "--out", "a.csv", "--seed", "0"), "--gather or --seed"),
        (("--gather", "a.json"), "expected --out for the table"),
        (("--gather", "--out", "a.csv"), "expected the files that readers saved"),
    ]:
        assert said in str(call(*words).exception), words
    done = CliRunner().invoke(hv, ["versus", "page.csv", *run])
    assert "ending in .html" in str(done.exception)
