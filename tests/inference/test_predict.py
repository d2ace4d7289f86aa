"""Prediction: every file gets its row, whatever is in it; nothing is made up."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_onnx_model import write_model

from conftest import ROOT
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.listing import find_images
from hv_utils.inference import predict
from hv_utils.inference.onnx_model import Verdicts
from hv_utils.inference.predict import columns, predict_rows, prediction_table
from hv_utils.inference.reports import Report, overlay_paths, save_overlay

CLASSES = ("dark", "light")


def classify(images):
    """Call an image light in proportion to its brightness."""
    assert images.dtype == np.uint8
    assert images.shape[1:] == (32, 32, 3)
    light = images.mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - light, light], axis=1)


@pytest.fixture
def folder(tmp_path):
    """Write good images of every kind, and bad files of every kind."""

    def save(name, array, mode=None):
        image = Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode)
        image.save(tmp_path / name)

    save("a-light.png", np.full((60, 40, 3), 255, np.uint8))
    save("b-dark.jpg", np.zeros((60, 40, 3), np.uint8))
    save("c-grey.png", np.full((60, 40), 255, np.uint8))
    save("d-rgba.png", np.zeros((60, 40, 4), np.uint8))
    save("e-16bit.png", np.full((60, 40), 65535, np.uint16))
    (tmp_path / "f-empty.png").touch()
    (tmp_path / "g-text.png").write_text("a text")
    content = (tmp_path / "a-light.png").read_bytes()
    (tmp_path / "h-cut.png").write_bytes(content[: len(content) // 2])
    save("i-dot.png", np.zeros((1, 1, 3), np.uint8))
    save("j-huge.png", np.zeros((20, 20000), np.uint8))
    return tmp_path


def test_each_file_has_its_row_and_only_real_images_have_a_verdict(folder):
    paths = find_images([folder]).files
    rows = list(predict_rows(paths, classify, classes=CLASSES, size=(32, 32), batch_size=3))
    table = prediction_table(rows, CLASSES)
    assert list(table.columns) == columns(CLASSES)
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    verdicts = {path.stem[2:]: row["predicted"] for path, row in zip(paths, rows, strict=True)}
    assert verdicts == {
        "light": "light",
        "dark": "dark",
        "grey": "light",
        "rgba": "light",  # transparent, laid over white
        "16bit": "light",
        "empty": "",
        "text": "",
        "cut": "",
        "dot": "",
        "huge": "",
    }
    bad = table[table["status"] == "unreadable"]
    assert len(bad) == 5
    assert bad[["confidence", "prob_dark", "prob_light"]].isna().all(axis=None)
    reasons = [row["reason"] for row in rows if row["status"] == "unreadable"]
    assert all(reason.startswith("expected") and "\n" not in reason for reason in reasons)


def test_batches_and_single_images_agree(folder):
    paths = find_images([folder]).files
    options = {"classes": CLASSES, "size": (32, 32)}
    single = prediction_table(predict_rows(paths, classify, batch_size=1, **options), CLASSES)
    batched = prediction_table(predict_rows(paths, classify, batch_size=64, **options), CLASSES)
    assert single.equals(batched)


def test_workers_change_nothing_but_the_speed(folder):
    paths = find_images([folder]).files * 5
    options = {"classes": CLASSES, "size": (32, 32), "batch_size": 2}
    one = prediction_table(predict_rows(paths, classify, **options), CLASSES)
    three = prediction_table(predict_rows(paths, classify, workers=3, **options), CLASSES)
    assert one.equals(three)


def test_statuses_come_with_the_verdicts(folder):
    def judge(images):
        maps = np.ones((len(images), 2, 2), np.float32)
        return Verdicts(classify(images), ["unsure", "not_a_cell"], maps)

    paths = [folder / "a-light.png", folder / "f-empty.png", folder / "b-dark.jpg"]
    rows = list(predict_rows(paths, judge, classes=CLASSES, size=(32, 32)))
    assert [row["status"] for row in rows] == ["unsure", "unreadable", "not_a_cell"]
    assert [row["predicted"] for row in rows] == ["light", "", ""]
    assert rows[2]["prob_dark"] == pytest.approx(1)
    assert rows[0]["heat_map"].shape == (2, 2)
    assert "heat_map" not in rows[1]


def test_memory_does_not_grow_with_the_number_of_images(folder):
    path = folder / "a-light.png"
    seen = []

    def endless():
        for _ in range(10_000):
            seen.append(1)
            yield path

    rows = predict_rows(endless(), classify, classes=CLASSES, size=(32, 32), batch_size=8)
    next(rows)
    assert len(seen) == 8, "images are read a batch at a time, when they are asked for"
    rows = predict_rows(
        endless(), classify, classes=CLASSES, size=(32, 32), workers=2, batch_size=8
    )
    for _ in range(100):
        next(rows)
    assert len(seen) <= 8 + 100 + 4 * 8, "no further ahead than the workers need"


def test_overlays_have_the_size_of_their_image(folder, tmp_path):
    row = {"path": str(folder / "a-light.png"), "heat_map": np.eye(3, dtype=np.float32)}
    save_overlay(row, tmp_path / "cam.png")
    with Image.open(tmp_path / "cam.png") as image:
        assert image.size == (40, 60)
        assert np.asarray(image).std() > 10, "the heat map shows on the white image"
    save_overlay({"path": "x", "heat_map": None}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_each_overlay_has_a_name_that_leads_back_to_its_image():
    files = [Path(name) for name in ("/a/1/cell.png", "/a/1/cell.jpg", "/a/2/cell.png")]
    files.append(Path(f"/a/{'x' * 250}.png"))
    paths = overlay_paths(files, "cam")
    names = [str(paths[str(file)]) for file in files]
    assert names[:3] == ["cam/1/cell-cam.png", "cam/1/cell-cam-2.png", "cam/2/cell-cam.png"]
    assert len(Path(names[3]).name) < 255
    assert paths == overlay_paths(files, "cam"), "a second call writes the same files"


def test_brackets_in_a_name_are_no_markup():
    report = Report(CLASSES)
    row = {"path": "/a/we[bold]ird[y].png", "predicted": "dark", "status": "ok"}
    report.add({**row, "prob_dark": 1.0, "prob_light": 0.0})
    assert "we[bold]ird[y].png" in report.text()


def test_a_report_of_many_ends_in_a_summary():
    report = Report(CLASSES, shown=3)
    for number in range(50):
        status = "unsure" if number == 7 else "ok"
        row = {"path": f"/a/b/{number}.png", "predicted": "dark", "status": status}
        report.add({**row, "confidence": 0.8, "prob_dark": 0.8, "prob_light": 0.2, "reason": ""})
    lines = report.text().splitlines()
    assert lines[1].split() == ["0.png", "dark", "ok", "0.800", "0.200"]
    assert len(lines) == 1 + 3 + 1 + 2 + 1
    assert lines[4].startswith("… and 47 more")
    assert [line.split() for line in lines[5:]] == [["dark", "49"], ["light", "0"], ["unsure", "1"]]


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.onnx")


def test_predict_without_tensorflow(folder, model, tmp_path):
    """The command's own process tells which modules it loaded."""
    script = """
import sys
from hv_utils.cli import hv
hv(sys.argv[1:], standalone_mode=False)
heavy = {"tensorflow", "keras", "pandas", "sklearn", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    arguments = ["predict", folder / "a-light.png", folder / "b-dark.jpg", "--model", model]
    arguments += ["--csv", tmp_path / "out.csv", "--cam", tmp_path / "cam"]
    command = [sys.executable, "-c", script, *map(str, arguments)]
    home = tmp_path / "home"
    environ = {**os.environ, "HOME": str(home)}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ)
    assert result.returncode == 0, result.stderr
    assert not list(home.rglob("*onnxruntime*")), "ONNX Runtime keeps no device id"
    assert "a-light.png" in result.stdout
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table.columns) == columns(["dark", "light"])
    assert len(table) == 2
    assert len(list((tmp_path / "cam").iterdir())) == 2


def test_predict_goes_on_after_a_bad_file(folder, model, tmp_path):
    result = hv("predict", folder, "--model", model, "--csv", tmp_path / "out.csv")
    assert result.returncode == 1
    others, *reasons = result.stderr.splitlines()
    assert "3 files, .onnx (1), .json (1), .npz (1)" in others, "what is passed over is named"
    assert len(reasons) == 5, reasons
    assert all(line.startswith("hv: expected") for line in reasons)
    assert result.stdout.count("unreadable") == 5
    assert len(pd.read_csv(tmp_path / "out.csv")) == 10


def test_a_damaged_model_is_refused_in_one_line(folder, model):
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = hv("predict", folder / "a-light.png", "--model", model)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "SHA-256" in result.stderr


def test_without_a_model_the_command_says_how_to_get_one(monkeypatch, tmp_path, model):
    for name in ("TRAVELLING_MODEL", "SHIPPED_MODEL", "DEMO_MODEL"):
        monkeypatch.setattr(predict, name, tmp_path / "none.onnx")
    with pytest.raises(HematoVisionError, match="hv run"):
        predict.default_model()
    monkeypatch.setattr(predict, "DEMO_MODEL", model)
    assert predict.default_model() == model


def hv(*arguments):
    command = [sys.executable, "-m", "hv_utils.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_command_line_mistakes_are_one_line(tmp_path):
    for arguments in (
        ["predict", tmp_path / "none.png"],
        ["run", "--profile", "none"],
        ["run", "-p", "nothing", "1"],
        ["book", "--run", tmp_path / "empty"],
    ):
        result = hv(*arguments)
        assert result.returncode == 1, arguments
        assert result.stderr.startswith("hv: expected"), result.stderr
        assert "Traceback" not in result.stderr
        assert result.stderr.count("\n") == 1, result.stderr


def test_help_of_every_command():
    for command in ([], ["run"], ["book"], ["predict"], ["data"]):
        result = hv(*command, "--help")
        assert result.returncode == 0, result.stderr
        assert "Usage: hv" in result.stdout
