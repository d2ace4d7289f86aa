"""What the pieces show, against the run that they are computed from."""

import base64
import importlib
import io
import json
import re
import sys

import cv2
import numpy as np
import pandas as pd
import pytest

from conftest import ROOT
from fake_predictions import predictions
from fake_run import write_artefacts
from hv_utils.ground.predictions import from_predictions
from hv_utils.ground.runs import Run
from hv_utils.scores.intervals import bootstrap_interval
from hv_utils.scores.metrics import per_cell


@pytest.fixture(scope="module")
def pieces():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    yield importlib.import_module("hematovision_pieces")
    sys.path.pop(0)


@pytest.fixture
def run(tmp_path) -> Run:
    run = Run.open(tmp_path / "run")
    write_artefacts(run)
    return run


def rows(static: str) -> list[list[str]]:
    return [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        for row in re.findall(r"<tr>(.*?)</tr>", static)
    ]


def edit(run: Run, name: str, **columns) -> None:
    run.write_table(name, run.read_table(name).assign(**columns))


def test_the_quiz_asks_for_test_cells_and_knows_the_models_verdicts(pieces, run):
    data, static = pieces.quiz(run)
    judged = per_cell(run.read_table("predictions.csv"))
    verdicts = sorted(zip(judged["label"], judged["predicted"], strict=True))
    asked = sorted((cell["label"], cell["predicted"]) for cell in data["cells"])
    assert len(asked) == 3 * len(data["classes"]) == 12
    assert not [pair for pair in asked if asked.count(pair) > verdicts.count(pair)]
    pictures = re.findall(r"base64,([^\"]+)", static)
    assert len(pictures) == 12
    image = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (pieces.PICTURE_SIDE, pieces.PICTURE_SIDE, 3)
    # What a picture is called must not tell its class.
    assert not [cell for cell in data["cells"] if cell["label"] in cell["alt"]]


def test_the_quiz_asks_for_no_cell_whose_label_is_wrong_and_names_look_alikes(pieces, run):
    images = run.read_table("images.csv")
    labels = run.read_table("predictions.csv").drop_duplicates("cell").set_index("cell")["label"]
    wrong = labels.index[labels == "eosinophil"][:2]
    drawn = images["drawn_as"].mask(images["cell"].isin(wrong), "lymphocyte")
    edit(run, "images.csv", drawn_as=drawn, variant="band")
    asked = [cell for cell in pieces.quiz(run)[0]["cells"] if cell["label"] == "eosinophil"]
    assert len(asked) == (labels == "eosinophil").sum() - 2 == 2
    assert asked[0]["drawn"] == "eosinophil (band)"


def test_the_quiz_shows_no_photographs(pieces, run):
    edit(run, "images.csv", source="kaggle")
    with pytest.raises(pieces.NotShownError, match="built from photographs"):
        pieces.quiz(run)


def test_the_quiz_says_where_its_photographs_are_gone(pieces, run):
    edit(run, "photos.csv", path="/nowhere/1.jpg")
    with pytest.raises(pieces.NotShownError, match="no longer"):
        pieces.quiz(run)


def test_the_threshold_counts_answers_and_right_ones(pieces, run):
    data, static = pieces.threshold(run)
    index, probs, _, _ = from_predictions(run.read_table("predictions.csv"))
    cooled = probs ** (1 / 1.2)
    cooled /= cooled.sum(1, keepdims=True)
    answered = cooled.max(1) >= 0.8
    right = (cooled.argmax(1) == index)[answered]
    (row,) = [row for row in rows(static) if row[0] == "0.80"]
    assert row[3:] == [f"{100 * answered.mean():.0f} %", f"{100 * right.mean():.0f} %"]
    assert rows(static)[1][1::2] == ["100 %", "100 %"], "at 0 everything is answered"
    assert len(data["parts"]["validation"]["right"]) == 48
    assert data["chosen"] == 0.6, "what the run has chosen, not what might be chosen"
    assert "0.60" in [row[0] for row in rows(static)]


def test_the_predictive_values_are_those_of_the_worked_example(pieces, run):
    _, static = pieces.prevalence(run)
    worked = (ROOT / "book" / "11-challenges.md").read_text().replace("\xa0", " ")
    table = {row[0]: row[1:] for row in rows(static)}
    assert table["25 %"] == ["86 %", "96.6 %"]
    assert table["2.2 %"] == ["29 %", "99.8 %"]
    assert all(word in worked for word in ("86 %", "29 % are", "96.6 % to 99.8 %"))


def test_the_bag_agrees_with_the_books_interval_and_widens_as_cells_get_fewer(pieces, run):
    _, static = pieces.bag(run)
    table = rows(static)[1:]
    widths = [float(row[2]) for row in table]
    assert widths == sorted(widths, reverse=True)
    found = bootstrap_interval(run.read_table("predictions.csv"), seed=3)["macro_f1"]
    low, high = map(float, table[-1][1].split(" to "))
    assert table[-1][0] == "16"
    assert (low, high) == pytest.approx((found["low"], found["high"]), abs=0.03)


def test_the_leak_is_what_dealing_shows(pieces, run):
    data, static = pieces.leak(run)
    assert data["copies"] == [5] * 20
    rng = np.random.default_rng(0)
    test = rng.random((20_000, 5)) < pieces.TEST_SHARE
    leaking = test[~test.all(1)].sum() / test.sum()
    (row,) = [row for row in rows(static) if row[0] == "5"]
    assert float(row[1].split()[0]) / 100 == pytest.approx(leaking, abs=0.01)
    assert rows(static)[1] == ["1", "0 %", "0 %"], "a single copy has no sibling"


@pytest.mark.parametrize(
    ("piece", "name"),
    [
        ("quiz", "images.csv"),
        ("quiz", "photos.csv"),
        ("threshold", "predictions-val.csv"),
        ("threshold", "metrics.json"),
        ("threshold", "model.onnx.json"),
        ("bag", "predictions.csv"),
        ("leak", "images.csv"),
    ],
)
def test_what_a_run_lacks_is_named(pieces, run, piece, name):
    run.path(name).unlink()
    with pytest.raises(pieces.NotShownError, match=re.escape(name)):
        pieces.PIECES[piece][1](run)


@pytest.mark.parametrize("piece", ["bag", "leak"])
def test_images_of_unknown_cells_are_told_of(pieces, run, piece):
    edit(run, "images.csv", cell=pd.NA)
    run.write_table("predictions.csv", predictions().assign(cell=pd.NA))
    with pytest.raises(pieces.NotShownError, match="which cell an image"):
        pieces.PIECES[piece][1](run)


def test_a_page_says_what_its_run_cannot_show_and_loads_no_script_then(pieces, run, tmp_path):
    from sphinx.application import Sphinx

    source, out, warnings = tmp_path / "source", tmp_path / "out", io.StringIO()
    (source / "book").mkdir(parents=True)
    (source / "conf.py").write_text("extensions = ['myst_parser', 'hematovision_interactive']")
    (source / "book" / "run.json").write_text(json.dumps({"folder": str(run.folder)}))
    for page, piece in {"index": "leak", "silent": "quiz", "wrong": "game"}.items():
        text = f":orphan:\n# A\n\n```{{interactive}} {piece}\nName *it*.\n```\n"
        (source / f"{page}.md").write_text(text.replace(":orphan:", "---\norphan: true\n---"))
    run.path("photos.csv").unlink()
    places = (source, source, out, tmp_path / "trees", "html")
    Sphinx(*places, status=None, warning=warnings).build()
    shown, silent = ((out / f"{page}.html").read_text("utf-8") for page in ("index", "silent"))
    assert "<p>Name <em>it</em>.</p>" in shown
    assert "hematovision.js" in shown
    assert "<p>The run behind this book has no photos.csv, which this piece needs.</p>" in silent
    assert "hematovision.js" not in silent
    told = [line for line in warnings.getvalue().splitlines() if "already registered" not in line]
    assert "expected a piece among quiz, threshold" in "".join(told)
    assert all("wrong.md" in line for line in told if "WARNING" in line or "ERROR" in line)
