"""The folder of parts: the table of the CSV, whole parts alone, whoever is killed meanwhile."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image
from test_onnx_model import write_model

from conftest import ROOT
from hv_utils.ground import workers as hands
from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference import part_folder
from hv_utils.inference.labelling import label_images
from hv_utils.inference.part_folder import label_into_parts, part_path

pytest.importorskip("pyarrow")
N_IMAGES, PART = 23, 5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Go to a folder with a model, images, and bad files among them."""
    write_model(tmp_path / "m.onnx")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(N_IMAGES - 2):
        pixels = rng.integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number:02}.png")
    (tmp_path / "images" / "bad.png").write_text("a text")
    (tmp_path / "images" / "empty.png").touch()
    (tmp_path / "images" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def here(monkeypatch):
    """Let this process do the work: quick, and it can be patched."""

    class Here:
        losses = ()

        def slots(self):
            return 1

        def submit(self, function, *arguments):
            future = hands.Future()
            try:
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)
            return future

        def check(self):
            pass

        def close(self, *, at_once):
            pass

    monkeypatch.setattr(hands, "Processes", lambda count: Here())


def label(out="out", paths=("images",), **options):
    lines = []
    options = {"model": "m.onnx", "part_size": PART, "complain": lines.append, **options}
    return label_into_parts(paths, out=out, **options), lines


def table(out="out"):
    return pd.read_parquet(out)


def parts(out="out"):
    return sorted(Path(out).glob("part-*"))


def test_the_parts_are_the_table_of_the_csv_on_all_cores(folder):
    report, lines = label(processes=2)
    beside = label_images(["images"], csv="t.csv", model="m.onnx", complain=lambda line: None)
    csv = pd.read_csv("t.csv")
    pd.testing.assert_frame_equal(table(), csv, check_dtype=False)
    assert len(parts()) == -(-N_IMAGES // PART)
    assert report.counts == beside.counts
    assert report.predicted == beside.predicted
    assert lines[0].startswith("left out as no images by their endings: 1 files, .txt")
    assert sum("bad.png" in line or "empty.png" in line for line in lines) == 2
    summary = json.loads(Path("out/_summary.json").read_text())
    assert summary["images"] == N_IMAGES
    assert not list(Path("out").glob(".images*"))


def test_finished_parts_are_kept_and_all_are_counted(folder, here, monkeypatch):
    whole, _ = label()
    expected, untouched = table(), parts()[0].stat().st_mtime_ns
    for number in (1, 3):
        part_path(Path("out"), number).unlink()
    made = []
    judge = part_folder.judge_part
    monkeypatch.setattr(
        part_folder, "judge_part", lambda r, task: made.append(task.number) or judge(r, task)
    )
    report, lines = label()
    assert made == [1, 3]
    assert f"going on: {N_IMAGES - 2 * PART} of {N_IMAGES} images" in lines[1]
    pd.testing.assert_frame_equal(table(), expected)
    assert parts()[0].stat().st_mtime_ns == untouched
    assert report.counts == whole.counts
    assert report.text() == whole.text()
    label()
    assert made == [1, 3], "nothing is left to do"


def change(folder, what):
    if what == "added":
        (folder / "images" / "00a.png").write_bytes((folder / "images" / "00.png").read_bytes())
    elif what == "taken away":
        (folder / "images" / "20.png").unlink()
        (folder / "images" / "bad.png").unlink()
        (folder / "images" / "empty.png").unlink()
    elif what == "changed":
        os.utime(folder / "images" / "07.png", (1, 1))


@pytest.mark.parametrize("what", ["added", "taken away", "changed"])
def test_other_images_are_refused(folder, here, what):
    label()
    change(folder, what)
    with pytest.raises(HematoVisionError, match=r"expected the images that .* was begun with"):
        label()
    assert len(parts()) == -(-N_IMAGES // PART)


def test_another_model_or_option_is_refused_by_name(folder, here):
    label()
    with pytest.raises(HematoVisionError, match=r"begun with \(part_size 5\), but got part_size 6"):
        label(part_size=6)
    write_model(folder / "m.onnx", temperature=2.0)
    with pytest.raises(HematoVisionError, match=r"begun with \(model "):
        label()
    Path("out/_made_from.json").unlink()
    with pytest.raises(HematoVisionError, match="expected a new folder"):
        label()


def test_a_full_disk_in_the_middle_of_a_part_costs_that_part(folder, here, monkeypatch):
    fsync, calls = os.fsync, []

    def full(number):
        calls.append(number)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(HematoVisionError, match=r"make room") as refusal:
            label()
    assert "\n" not in str(refusal.value)
    assert [path.name for path in parts()] == ["part-000000.parquet", "part-000001.parquet"]
    assert not list(Path("out").glob(".*.part*"))
    report, _ = label()
    assert report.images == N_IMAGES


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("images/00.png", "expected a folder that can be written"),
        ("s3://bucket/out", "expected a folder of this machine"),
    ],
)
def test_where_no_parts_can_be(folder, out, words):
    with pytest.raises(HematoVisionError, match=words):
        label(out=out)


def test_a_damaged_part_is_named(folder, here):
    label()
    parts()[2].write_bytes(b"PAR1")
    with pytest.raises(HematoVisionError, match=r"part-000002.parquet to be a part .* remove it"):
        label()
    parts()[2].unlink()
    assert label()[0].images == N_IMAGES


def test_one_command_at_a_time(folder, here, monkeypatch):
    judge = part_folder.judge_part

    def again(recipe, task):
        with pytest.raises(HematoVisionError, match="one command at a time"):
            label()
        return judge(recipe, task)

    monkeypatch.setattr(part_folder, "judge_part", again)
    label(part_size=100)


def test_a_folder_on_the_web_and_in_memory(folder, here):
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    expected, _ = label(out="plain")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    SimpleHTTPRequestHandler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/images/"
        report, lines = label(out="web", paths=[address])
        server.shutdown()
    assert report.counts == expected.counts
    assert any(line.endswith("export it as JPEG or PNG") and address in line for line in lines)
    memory = fsspec.filesystem("memory")
    for path in (folder / "images").iterdir():
        memory.pipe(f"/cells/{path.name}", path.read_bytes())
    label(out="memory", paths=["memory://cells"])
    label(out="file", paths=[f"file://{folder}/images"])
    plain = table("plain").drop(columns="path")
    for out, first in (
        ("web", f"{address}00.png"),
        ("memory", "memory://cells/00.png"),
        ("file", str(folder / "images" / "00.png")),
    ):
        assert table(out)["path"][0].replace("///", "//") == first
        pd.testing.assert_frame_equal(table(out).drop(columns="path"), plain)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("memory://nothing/there", "nothing is at memory://nothing/there"),
        ("memory://nothing/there.png", "nothing is at"),
        ("foo://bucket/a.png", "expected an address such as s3://"),
        ("http://127.0.0.1:9/a.png", r"cannot be looked up|nothing is at"),
    ],
)
def test_bad_addresses_are_one_line(folder, here, address, words):
    pytest.importorskip("aiohttp")
    with pytest.raises(HematoVisionError, match=words) as refusal:
        label(paths=[address])
    assert "\n" not in str(refusal.value)
    assert not parts()


def command(*more):
    return [sys.executable, "-m", "hv_utils.cli", "predict", "images", "--model", "m.onnx", *more]


def run(*more):
    return subprocess.run(command(*more), capture_output=True, text=True, env=environment())


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "o", "--csv", "t.csv"), "expected --out or --csv, but got both"),
        (("--out", "o", "--cam", "c"), "expected --out or --cam, but got both"),
        (("--scheduler", "tcp://127.0.0.1:9"), "expected --out beside --scheduler"),
        (("--part-size", "3"), "expected --out beside --part-size"),
        (("s3://bucket/folder",), "expected --out beside s3://bucket/folder"),
        (("--out", "o", "--scheduler", "tcp://127.0.0.1:9"), "expected a Dask scheduler at tcp"),
    ],
)
def test_what_does_not_go_together_is_one_line(folder, options, words):
    done = run(*options)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "left out" not in line]
    assert words in line


def test_a_killed_command_leaves_no_process_and_goes_on(folder):
    label_images(["images"], csv="t.csv", model="m.onnx", complain=lambda line: None)
    process = subprocess.Popen(
        command("--out", "out", "--part-size", "1"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while not parts() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    children = psutil.Process(process.pid).children() if process.poll() is None else []
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    report, _ = label(part_size=1)
    assert report.images == N_IMAGES
    pd.testing.assert_frame_equal(table(), pd.read_csv("t.csv"), check_dtype=False)
    assert not list(Path("out").glob(".*.part*"))


def test_nothing_of_it_loads_otherwise(folder):
    script = (
        "import sys; "
        "from hv_utils.inference.labelling import label_images; "
        "label_images(['images'], model='m.onnx', csv='x.csv', complain=lambda line: None); "
        "print(sorted({'dask', 'distributed', 'fsspec', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment()
    )
    assert done.stdout.strip() == "[]", done.stderr
