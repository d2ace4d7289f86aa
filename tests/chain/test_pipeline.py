"""The chain, on two small notebooks: what runs again, what is skipped, what stops it."""

import json
import signal
import subprocess
import sys
import time

import pytest
from filelock import FileLock

from hv_utils import cli
from hv_utils.chain import parameters, steps
from hv_utils.chain.pipeline import listed, run_chain
from hv_utils.chain.steps import Step
from hv_utils.ground.errors import HematoVisionError

PARAMETERS = 'run_dir: str = "runs/x"  # the folder\nsize: int = 1  # how many\n'
FIRST = """
from pathlib import Path
from hv_utils.ground.runs import Run
run = Run.open(run_dir)
run.write_json("first.json", {"size": size})
"""
SECOND = """
from hv_utils.ground.runs import Run
run = Run.open(run_dir)
first = run.read_json("first.json")
run.write_json("second.json", {"rate": rate, **first})
"""
STEPS = (
    Step("01_first", (), ("first.json",)),
    Step("02_second", ("first.json",), ("second.json",)),
)


@pytest.fixture
def chain(tmp_path, monkeypatch, write_notebook):
    """Write the two notebooks and a profile; return a function that runs them."""
    monkeypatch.setattr(steps, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(parameters, "PROFILES", tmp_path / "profiles")
    write_notebook(tmp_path / "notebooks/01_first.ipynb", PARAMETERS, FIRST)
    second = 'run_dir: str = "runs/x"  # the folder\nrate: float = 0.5  # share\n'
    write_notebook(tmp_path / "notebooks/02_second.ipynb", second, SECOND)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/small.yaml").write_text("size: 2\n")
    lines = []

    def run(**options):
        lines.clear()
        options.setdefault("run_dir", tmp_path / "runs/x")
        run_chain("small", steps=STEPS, echo=lines.append, **options)
        return [line.split()[1].rstrip(":") for line in lines if "up to date" in line]

    run.folder = tmp_path / "runs/x"
    run.notebooks = tmp_path / "notebooks"
    return run


def test_chain_runs_then_skips_then_reruns_what_changed(chain, write_notebook):
    assert chain() == []
    assert json.loads((chain.folder / "second.json").read_text()) == {"rate": 0.5, "size": 2}
    manifest = json.loads((chain.folder / "manifest.json").read_text())
    assert set(manifest["seconds"]) == {"01_first", "02_second"}
    assert manifest["packages"]["papermill"]
    assert chain() == ["01_first", "02_second"]
    second = 'run_dir: str = "runs/x"  # the folder\nrate: float = 0.25  # share\n'
    write_notebook(chain.notebooks / "02_second.ipynb", second, SECOND)
    assert chain() == ["01_first"]
    (chain.folder / "first.json").unlink()
    # The first makes the same artefact again, so the second stays up to date.
    assert chain() == ["02_second"]


def test_from_step_and_force(chain):
    chain()
    assert chain(from_step="second") == ["01_first"]
    assert chain(force=True) == []


def test_until_step_leaves_out_what_follows_but_knows_its_parameters(chain):
    chain(until_step="first", overrides={"rate": 0.1})
    assert (chain.folder / "first.json").exists()
    assert not (chain.folder / "second.json").exists()
    assert chain(overrides={"rate": 0.1}) == ["01_first"]
    with pytest.raises(HematoVisionError, match=r"was made with rate=0\.1"):
        chain(until_step="first", overrides={"rate": 0.2}, force=True)


def test_an_interrupted_chain_stops_at_once_and_resumes(chain, write_notebook, tmp_path):
    started = tmp_path / "started"
    slow = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(60)"
    second = 'run_dir: str = "runs/x"  # the folder\nrate: float = 0.5  # share\n'
    write_notebook(chain.notebooks / "02_second.ipynb", second, slow)
    # What starts the tests in the background may have told them to ignore the signal.
    code = f"""
import signal
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from hv_utils import cli
from hv_utils.chain import parameters, pipeline, steps
from hv_utils.chain.steps import Step
steps.NOTEBOOKS, parameters.PROFILES = Path({str(chain.notebooks)!r}), Path({str(tmp_path)!r})
run_chain, two = pipeline.run_chain, {STEPS!r}
pipeline.run_chain = lambda *a, **k: run_chain(
    *a, **{{**k, "run_dir": {str(chain.folder)!r}, "steps": two}})
cli.main()
"""
    (tmp_path / "small.yaml").write_text("size: 2\n")
    command = [sys.executable, "-c", code, "run", "--profile", "small"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not started.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "hv: stopped; the same command resumes" in errors
    assert "Traceback" not in errors
    write_notebook(chain.notebooks / "02_second.ipynb", second, SECOND)
    assert chain() == ["01_first"], "the lock is free and the first step is kept"


def test_failed_notebook_is_named_and_the_chain_resumes_there(chain, write_notebook):
    write_notebook(chain.notebooks / "02_second.ipynb", PARAMETERS, "1 / 0")
    with pytest.raises(HematoVisionError, match=r"02_second, cell \d failed with ZeroDiv"):
        chain()
    assert "ZeroDivisionError" in (chain.folder / "notebooks/02_second.traceback.txt").read_text()
    assert (chain.folder / "notebooks/02_second.ipynb").exists()
    write_notebook(chain.notebooks / "02_second.ipynb", PARAMETERS, "rate = 1" + SECOND)
    assert chain() == ["01_first"]
    assert not (chain.folder / "notebooks/02_second.traceback.txt").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sice": 3}, "none declares 'sice'"),
        ({"size": "many"}, "size to be of type int"),
        ({"size": 1.5}, "size to be of type int"),
        ({"run_dir": "elsewhere"}, "none declares 'run_dir'"),
    ],
)
def test_wrong_parameter_is_refused_before_anything_runs(chain, overrides, message):
    with pytest.raises(HematoVisionError, match=message):
        chain(overrides=overrides)
    assert not chain.folder.exists()


def test_folder_made_with_other_parameters_is_refused(chain):
    chain()
    with pytest.raises(HematoVisionError, match=r"was made with size=2 .*--force"):
        chain(overrides={"size": 3})
    assert json.loads((chain.folder / "first.json").read_text()) == {"size": 2}
    assert chain(overrides={"size": 3}, force=True) == []
    assert json.loads((chain.folder / "second.json").read_text())["size"] == 3
    # A parameter that only re-run steps declare may change.
    assert chain(overrides={"size": 3, "rate": 0.1}, from_step="second") == ["01_first"]


def test_parameters_of_a_failed_run_are_not_held_against_the_next(chain, write_notebook):
    write_notebook(
        chain.notebooks / "01_first.ipynb", PARAMETERS, "assert size != 2, 'even'" + FIRST
    )
    with pytest.raises(HematoVisionError, match="AssertionError: even"):
        chain()
    assert chain(overrides={"size": 3}) == []


def test_second_process_on_one_folder_is_refused(chain):
    chain.folder.mkdir(parents=True)
    with (
        FileLock(chain.folder / ".lock"),
        pytest.raises(HematoVisionError, match="another process"),
    ):
        chain()


def test_command_line_values_are_typed():
    pairs = [("a", "3"), ("b", "0.5"), ("c", "true"), ("d", "demo"), ("e", ""), ("f", "[1, 2]")]
    expected = {"a": 3, "b": 0.5, "c": True, "d": "demo", "e": "", "f": [1, 2]}
    assert parameters.from_command_line(pairs) == expected


def test_paths_are_relative_to_where_they_are_written(monkeypatch, tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "lite0").mkdir()
    monkeypatch.chdir(tmp_path)
    values = parameters.from_command_line([("folder", "cells"), ("weights", "lite0")])
    assert values == {"folder": str(tmp_path / "cells"), "weights": "lite0"}
    (tmp_path / "own.yaml").write_text("archive: notebooks\nfolder: nowhere\nsource: cells\n")
    monkeypatch.setattr(parameters, "PROFILES", tmp_path)
    expected = {"archive": str(steps.NOTEBOOKS), "folder": "nowhere", "source": "cells"}
    assert parameters.read_profile("own") == expected


def test_paths_are_taken_as_they_are_written(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "007").mkdir()
    (tmp_path / "007/a.png").touch()
    pairs = [("folder", "007"), ("images", "*/*.png"), ("archive", "[abc")]
    found = parameters.from_command_line(pairs)
    assert found["folder"] == str(tmp_path / "007")
    assert found["images"] == str(tmp_path / "*/*.png"), "a pattern is of here, too"
    assert found["archive"] == "[abc"


@pytest.mark.parametrize("name", ["mine", "runs/mine", "/elsewhere/mine"])
def test_a_run_is_found_with_and_without_its_folder(name):
    expected = "/elsewhere/mine" if name.startswith("/") else f"runs/{name.removeprefix('runs/')}"
    assert str(cli._run_folder(name)) == expected


def test_what_is_no_yaml_is_one_line(monkeypatch, tmp_path):
    with pytest.raises(HematoVisionError, match=r"-p classes \[abc holds none"):
        parameters.from_command_line([("classes", "[abc")])
    (tmp_path / "own.yaml").write_text("size: [1, 2\n")
    monkeypatch.setattr(parameters, "PROFILES", tmp_path)
    with pytest.raises(HematoVisionError, match=r"own\.yaml holds none"):
        parameters.read_profile("own")


def test_files_in_folders_and_behind_patterns_count(tmp_path):
    (tmp_path / "a.png").touch()
    for values in ({"folder": str(tmp_path)}, {"images": str(tmp_path / "*.png")}):
        before = listed(values)
        assert len(before) == 1
        (tmp_path / "b.png").touch()
        assert len(listed(values)) == 2
        (tmp_path / "b.png").unlink()
        assert listed(values) == before
        (tmp_path / "a.png").write_text(str(values))
        assert listed(values) != before
    assert listed({"folder": "", "size": 3}) == []


def test_unknown_profile_and_step(chain):
    with pytest.raises(HematoVisionError, match="profile that is one of small"):
        run_chain("large", run_dir=chain.folder)
    with pytest.raises(HematoVisionError, match="--until to name one of the steps 01_first"):
        chain(from_step="third")


def test_importing_the_package_is_cheap():
    code = "import sys, hv_utils, hv_utils.cli; assert 'tensorflow' not in sys.modules"
    code += "; assert 'pandas' not in sys.modules, 'pandas'"
    subprocess.run([sys.executable, "-c", code], check=True)
