"""Prediction: every file gets its row, whatever is in it; nothing is made up."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT
from hv_utils.errors import HematoVisionError
from hv_utils.predict import columns, find_images, predict_rows, prediction_table

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
    paths = find_images([folder])
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
    paths = find_images([folder])
    options = {"classes": CLASSES, "size": (32, 32)}
    single = prediction_table(predict_rows(paths, classify, batch_size=1, **options), CLASSES)
    batched = prediction_table(predict_rows(paths, classify, batch_size=64, **options), CLASSES)
    assert single.equals(batched)


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


def test_find_images(folder):
    files = find_images([folder / "*.jpg", folder / "a-light.png", folder])
    assert [file.name for file in files[:2]] == ["b-dark.jpg", "a-light.png"]
    assert len(files) == len(set(files)) == 10
    for nothing in (folder / "none.png", folder / "*.gif"):
        with pytest.raises(HematoVisionError, match="nothing is at"):
            find_images([nothing])
    (folder / "empty").mkdir()
    with pytest.raises(HematoVisionError, match="expected images in the folder"):
        find_images([folder / "empty"])


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
