"""The table of `hv predict`: what was finished is kept, and the same command goes on from there."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_onnx_model import write_model

from conftest import ROOT
from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.predict import columns
from hv_utils.inference.table_file import table_file, table_key

CLASSES = ("dark", "light")
NAMES = columns(CLASSES, sets=True, why=True)
N_IMAGES = 120


def row(number):
    figures = {"confidence": 0.1 + number / 7, "prob_dark": 1 / 3, "prob_light": 2 / 3}
    if number == 2:
        figures = dict.fromkeys(figures, math.nan)
    status = "unreadable" if number == 2 else "ok"
    name = {1: 'a,"b\n".png', 3: "caf\udce9.png"}.get(number, f"{number}.png")
    words = {"set": "dark|light" if number % 2 else "dark", "why": f"{number}; a, b (90 %)"}
    return {"path": name, "predicted": "dark", "status": status, **figures, **words, "reason": ""}


ROWS = [row(number) for number in range(9)]
FILES = [Path(one["path"]) for one in ROWS]


def same(first, second):
    return [{k: str(v) for k, v in one.items()} for one in first] == [
        {k: str(v) for k, v in one.items()} for one in second
    ]


def write(path, rows, *, key="k", stop_after=None, batch_size=2):
    """Write the rows that are not there, and return those that were."""
    with table_file(path, NAMES, key=key) as table:
        kept = list(table.kept(FILES, batch_size=batch_size))
        for number, one in enumerate(rows[len(kept) :]):
            if number == stop_after:
                raise KeyboardInterrupt
            table.write(one)
    return kept


@pytest.fixture
def whole(tmp_path):
    assert write(tmp_path / "whole.csv", ROWS) == []
    return (tmp_path / "whole.csv").read_bytes()


def test_the_table_appears_when_it_is_whole(tmp_path, whole):
    path = tmp_path / "new folder" / "out.csv"
    with table_file(path, NAMES, key="k") as table:
        assert list(table.kept(FILES, batch_size=2)) == []
        for one in ROWS:
            table.write(one)
        assert not path.exists()
    assert path.read_bytes() == whole
    assert [one.name for one in path.parent.iterdir()] == ["out.csv"]
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [one["path"] for one in read[:4]] == ["0.png", 'a,"b\n".png', "2.png", "caf\\udce9.png"]
    assert read[2]["prob_dark"] == ""


@pytest.mark.parametrize("stop_after", range(9))
def test_an_interrupted_table_goes_on_in_whole_batches(tmp_path, whole, stop_after):
    path = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        write(path, ROWS, stop_after=stop_after)
    kept = write(path, ROWS)
    assert len(kept) == stop_after - stop_after % 2
    assert same(kept, ROWS[: len(kept)])
    assert path.read_bytes() == whole


def test_a_table_cut_anywhere_goes_on(tmp_path, whole):
    for cut in range(0, len(whole) + 1, 3):
        partial = tmp_path / "out.csv.k.partial"
        partial.write_bytes(whole[:cut])
        kept = write(tmp_path / "out.csv", ROWS)
        assert same(kept, ROWS[: len(kept)])
        assert (tmp_path / "out.csv").read_bytes() == whole, f"cut after {cut} bytes"


@pytest.mark.parametrize(
    "content", [b"\0" * 999, b"path,predicted\n", b"\xff\xfe\n\n\n", b"a,b\n" * 99]
)
def test_a_damaged_table_is_begun_anew(tmp_path, whole, content):
    (tmp_path / "out.csv.k.partial").write_bytes(content)
    assert write(tmp_path / "out.csv", ROWS) == []
    assert (tmp_path / "out.csv").read_bytes() == whole


def test_another_key_begins_anew_and_the_whole_table_ends_all_others(tmp_path):
    path = tmp_path / "out.csv"
    for key in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            write(path, ROWS, key=key, stop_after=4)
    assert len(list(tmp_path.iterdir())) == 2
    assert len(write(path, ROWS, key="a")) == 4
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]


def test_the_old_table_stays_until_the_new_one_is_whole(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "whole.csv", ROWS, stop_after=3)
    assert (tmp_path / "whole.csv").read_bytes() == whole


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses the renaming instead")
def test_two_commands_do_not_write_one_table(tmp_path):
    with table_file(tmp_path / "out.csv", columns(CLASSES), key="k"):
        with pytest.raises(HematoVisionError, match="another one is at it"):
            write(tmp_path / "out.csv", ROWS)


def test_a_table_is_never_written_over_an_image_but_through_a_link(tmp_path):
    image = tmp_path / "a.png"
    image.write_bytes(b"image")
    with pytest.raises(HematoVisionError, match="is that of an image"):
        write(image, ROWS)
    assert image.read_bytes() == b"image"
    link, target = tmp_path / "link.csv", tmp_path / "target.csv"
    target.touch()
    link.symlink_to(target)
    write(link, ROWS)
    assert link.is_symlink()
    assert target.read_text().startswith("path,predicted")


@pytest.mark.parametrize("name", ["a.png/out.csv", "x" * 300])
def test_a_table_that_cannot_be_written_is_one_line(tmp_path, name):
    (tmp_path / "a.png").touch()
    with pytest.raises(HematoVisionError, match="place that can be written"):
        write(tmp_path / name, ROWS)


def test_the_key_tells_images_and_settings_apart(tmp_path):
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        file.write_text("x")
    key = table_key(files, {"model": 1})
    assert key == table_key(iter(files), {"model": 1})
    others = [table_key(files, {"model": 2}), table_key(files[::-1], {"model": 1})]
    others.append(table_key(files[:1], {"model": 1}))
    files[0].write_text("y" * 7)
    others.append(table_key(files, {"model": 1}))
    files[0].unlink()
    others.append(table_key(files, {"model": 1}))
    assert len({key, *others}) == 6


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    write_model(folder / "model.onnx")
    (folder / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    for number in range(N_IMAGES):
        Image.fromarray(np.roll(pixels, number)).save(folder / "images" / f"{number}.png")
    (folder / "images" / "30.png").write_text("no image")
    return folder


def predict(folder, table, *arguments, **options):
    words = ["predict", folder / "images", "--model", folder / "model.onnx", "--csv", table]
    command = [sys.executable, "-m", "hv_utils.cli", *map(str, [*words, *arguments])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command, cwd=ROOT, **pipes)


def finished(process):
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.mark.skipif(os.name == "nt", reason="signals of other systems")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_stopped_command_goes_on(images, tmp_path, name):
    whole, table = tmp_path / "whole.csv", tmp_path / "out.csv"
    assert finished(predict(images, whole, "--batch-size", "1"))[0] == 1
    process = predict(images, table, "--batch-size", "1")
    while not (partial := next(tmp_path.glob("out.csv.*.partial"), None)):
        assert process.poll() is None
        time.sleep(0.002)
    while partial.exists() and partial.read_bytes().count(b"\n") < 9:
        time.sleep(0.002)
    process.send_signal(getattr(signal, name))
    code, _, err = finished(process)
    if code == 1:
        pytest.skip("it was faster than the signal")
    assert code in (-signal.SIGKILL, 128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert name == "SIGKILL" or "the same command resumes" in err
    assert not table.exists()
    code, out, err = finished(predict(images, table, "--batch-size", "1"))
    assert code == 1, "the file that is no image shows in the exit status, whoever met it"
    assert "images of" in err
    assert "going on" in err
    assert table.read_bytes() == whole.read_bytes()
    assert f"{N_IMAGES}" in out
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.skipif(os.name == "nt", reason="pipes of other systems")
def test_nobody_reads_what_is_printed(images, tmp_path):
    read, write = os.pipe()
    os.close(read)
    process = predict(images, tmp_path / "out.csv", stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    code, _, err = finished(process)
    assert code == 1, "as with a reader"
    assert "Traceback" not in err
    assert "Broken" not in err
    assert (tmp_path / "out.csv").read_text().count("\n") == N_IMAGES + 1
    read, write = os.pipe()
    os.close(read)
    process = predict(images, tmp_path / "again.csv", stdout=write, stderr=write)
    os.close(write)
    assert process.wait() == 1
    assert (tmp_path / "again.csv").read_text().count("\n") == N_IMAGES + 1
