"""The chain, on two small notebooks: what runs again, what is skipped, what stops it."""

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from filelock import FileLock

from conftest import ROOT
from hv_utils import cli
from hv_utils.chain import parameters, steps
from hv_utils.chain.pipeline import listed, run_chain
from hv_utils.chain.steps import Step
from hv_utils.ground import locks
from hv_utils.ground.errors import HematoVisionError

PARAMETERS = 'run_dir: str = "runs/x"  # the folder\nsize: int = 1  # how many\n'
FIRST = """
from pathlib import Path
from hv_utils.ground.runs import Run
run = Run.open(run_dir)
print("drawn: █████░")
run.write_json("first.json", {"size": size})
"""
SECOND = """
from hv_utils.ground.runs import Run
run = Run.open(run_dir)
first = run.read_json("first.json")
run.write_json("second.json", {"rate": rate, **first})
"""
SECOND_PARAMETERS = 'run_dir: str = "runs/x"  # the folder\nrate: float = 0.5  # share\n'
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
    write_notebook(tmp_path / "notebooks/02_second.ipynb", SECOND_PARAMETERS, SECOND)
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


@pytest.fixture
def as_command(chain, tmp_path):
    """Return the command line that runs the two notebooks as `hv run` would."""
    (tmp_path / "small.yaml").write_text("size: 2\n")
    # What starts the tests in the background may have told them to ignore these signals.
    code = f"""
import signal
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
from hv_utils import cli
from hv_utils.chain import parameters, pipeline, steps
from hv_utils.chain.steps import Step
steps.NOTEBOOKS, parameters.PROFILES = Path({str(chain.notebooks)!r}), Path({str(tmp_path)!r})
run_chain, two = pipeline.run_chain, {STEPS!r}
pipeline.run_chain = lambda *a, **k: run_chain(*a, **{{**k, "steps": two}})
cli.main()
"""
    return [sys.executable, "-c", code, "run", "--profile", "small", "--run", str(chain.folder)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_stopped_chain_ends_at_once_and_resumes(chain, as_command, write_notebook, tmp_path):
    few = {**os.environ, "PYTHONIOENCODING": "cp1252"}  # as a log file on Windows
    started = tmp_path / "started"
    slow = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(60)"
    write_notebook(chain.notebooks / "02_second.ipynb", SECOND_PARAMETERS, slow)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        started.unlink(missing_ok=True)
        with subprocess.Popen(as_command, stdout=-1, stderr=-1, text=True, env=few) as process:
            while not started.exists():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.05)
            kernels = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            output, errors = process.communicate(timeout=30)
        assert process.returncode == 128 + number
        assert "hv: stopped; the same command resumes" in errors
        assert "Traceback" not in errors
        assert ("01_first: up to date" in output) == (number != signal.SIGINT)
        assert kernels
        assert not psutil.wait_procs(kernels, timeout=10)[1], "the kernels end with their chain"
    write_notebook(chain.notebooks / "02_second.ipynb", SECOND_PARAMETERS, SECOND)
    assert chain() == ["01_first"], "the lock is free and the first step is kept"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_kills_at_random_moments_lose_nothing(as_command, tmp_path):
    """Give the torture its short form; the long one is `scripts/torture.py`."""
    path = ROOT / "scripts" / "torture.py"
    spec = importlib.util.spec_from_file_location("torture", path)
    torture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(torture)
    report = torture.torture(
        as_command[:-1], tmp_path / "runs", kills=4, seed=0, compared=("first.json", "second.json")
    )
    assert report["kills"] == 4
    for fault in ("ran_twice", "missing", "different", "leftovers"):
        assert not report[fault], fault


def test_a_step_that_was_stopped_halfway_is_not_taken_for_finished(chain, write_notebook):
    chain()
    notebook = chain.notebooks / "01_first.ipynb"
    before = notebook.read_text()
    half = FIRST.replace('{"size": size}', '{"size": "half"}') + "1 / 0"
    write_notebook(notebook, PARAMETERS, half)
    with pytest.raises(HematoVisionError, match="ZeroDivisionError"):
        chain()
    notebook.write_text(before)
    assert chain() == ["02_second"]
    assert json.loads((chain.folder / "first.json").read_text()) == {"size": 2}


def test_each_step_tells_what_made_it_and_what_is_up_to_date_is_left_alone(chain, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/hv", "run", "one"])
    chain()
    names = ("manifest.json", "params.json", "notebooks/01_first.ipynb")
    before = {name: (chain.folder / name).stat() for name in names}
    monkeypatch.setattr(sys, "argv", ["/bin/hv", "run", "two"])
    assert chain() == ["01_first", "02_second"]
    after = {name: (chain.folder / name).stat() for name in names}
    assert {n: (s.st_ino, s.st_mtime_ns) for n, s in after.items()} == {
        n: (s.st_ino, s.st_mtime_ns) for n, s in before.items()
    }
    chain(from_step="second")
    made = json.loads((chain.folder / "manifest.json").read_text())["steps"]
    assert [made[step.name]["command"] for step in STEPS] == ["hv run one", "hv run two"]
    for step in STEPS:
        assert made[step.name]["packages"]["papermill"]
        assert "git_commit" in made[step.name]


def test_damaged_records_are_renewed_with_one_line(chain, capfd):
    chain(until_step="first")
    for name in ("manifest.json", "params.json"):
        (chain.folder / name).write_text('{"steps": {"01')
    capfd.readouterr()
    assert chain(until_step="first") == []
    errors = [line for line in capfd.readouterr().err.splitlines() if "damaged" in line]
    assert [line.split("/")[-1].split()[0] for line in errors] == ["manifest.json", "params.json"]
    assert chain(until_step="first") == ["01_first"]


def test_leftovers_of_killed_processes_are_swept(chain):
    chain(until_step="first")
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1).stdout
    leftovers = [chain.folder / f".metrics.{int(dead)}.part.json"]
    leftovers.append(chain.folder / f".data.{int(dead)}.part")
    leftovers[0].touch()
    leftovers[1].mkdir()
    (leftovers[1] / "a.png").touch()
    another = chain.folder / f".metrics.{os.getppid()}.part.json"
    another.touch()
    chain(until_step="first")
    assert [path.exists() for path in (*leftovers, another)] == [False, False, True]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_kernel_that_is_killed_is_one_line(chain, write_notebook):
    killed = "1\n"
    write_notebook(
        *(chain.notebooks / "02_second.ipynb", SECOND_PARAMETERS, killed),
        "import os\nos.kill(os.getpid(), 9)",
    )
    with pytest.raises(HematoVisionError, match=r"kernel died in cell 5.*memory.*resumes") as error:
        chain()
    assert "\n" not in str(error.value)
    write_notebook(chain.notebooks / "02_second.ipynb", SECOND_PARAMETERS, SECOND)
    assert chain() == ["01_first"]


def test_the_kernel_is_this_python_whatever_is_called_python3(chain, monkeypatch, write_notebook):
    other = chain.folder.parent / "jupyter/kernels/python3/kernel.json"
    other.parent.mkdir(parents=True)
    command = {"argv": ["false", "{connection_file}"], "display_name": "X", "language": "python"}
    other.write_text(json.dumps(command))
    monkeypatch.setenv("JUPYTER_PATH", str(other.parents[2]))
    write_notebook(
        *(chain.notebooks / "01_first.ipynb", PARAMETERS, FIRST),
        f"import sys\nassert sys.executable == {sys.executable!r}",
    )
    assert chain(until_step="first") == []


def test_a_full_disk_is_one_line_and_what_was_finished_stays(chain, monkeypatch):
    chain(until_step="first")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("papermill.execute_notebook", full)
        with pytest.raises(
            HematoVisionError, match=r"02_second.*No space left.*make room"
        ) as error:
            chain()
    assert "\n" not in str(error.value)
    assert chain() == ["01_first"]


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


def test_a_forced_chain_that_stops_is_finished_without_force(chain, write_notebook):
    chain()
    write_notebook(chain.notebooks / "02_second.ipynb", SECOND_PARAMETERS, "1 / 0")
    others = {"size": 3, "rate": 0.1}
    with pytest.raises(HematoVisionError, match="ZeroDivisionError"):
        chain(overrides=others, force=True)
    write_notebook(chain.notebooks / "02_second.ipynb", SECOND_PARAMETERS, SECOND)
    assert chain(overrides=others) == ["01_first"]
    assert json.loads((chain.folder / "second.json").read_text()) == {"rate": 0.1, "size": 3}


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


def test_a_notebook_by_hand_and_a_chain_keep_out_of_each_others_way(chain, monkeypatch):
    monkeypatch.setattr(locks, "ENDING_S", 0.1)
    chain(until_step="first")
    by_hand = [sys.executable, "-m", "papermill", str(chain.notebooks / "01_first.ipynb")]
    by_hand += [str(chain.folder / "by-hand.ipynb"), "-p", "run_dir", str(chain.folder)]
    with FileLock(chain.folder / ".lock"):
        refused = subprocess.run(by_hand, capture_output=True, text=True)
    assert refused.returncode
    assert "HematoVisionError: expected the run folder" in refused.stderr
    assert not subprocess.run(by_hand, capture_output=True, text=True).returncode
    with (
        FileLock(chain.folder / ".notebook-1.lock"),
        pytest.raises(HematoVisionError, match="notebook that is open"),
    ):
        chain()
    assert chain(until_step="first") == ["01_first"], "the notebook's kernel has ended"


DECLARED = """run_dir: str = "runs/x"  # the folder
source: str = "demo"  # of images
folder: str = ""  # of one's own
size: int = 1  # how many
rate: float = 1.0  # of learning
augment: bool = False  # whether
shares: list = [0.5]  # some
"""


@pytest.fixture
def validated(tmp_path, write_notebook):
    """Return a function that gives a notebook's values for pairs on the command line."""
    notebook = write_notebook(tmp_path / "a.ipynb", DECLARED)

    def read(*pairs, profile=None):
        values = {**(profile or {}), **parameters.from_command_line(pairs)}
        return parameters.validate(values, [notebook])[notebook]

    return read


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *[("size", "3", 3), ("size", "010", 10), ("rate", "1", 1.0), ("rate", "1e-3", 0.001)],
        *[("rate", "2.5E2", 250.0), ("augment", "true", True), ("augment", "no", False)],
        *[("shares", "[0, 1e-1]", [0, 0.1]), ("source", "demo", "demo"), ("folder", "", "")],
    ],
)
def test_command_line_values_are_of_the_declared_type(validated, name, text, value):
    assert validated((name, text)) == {name: value}
    if text != "010":
        assert validated(profile={name: text}) == {name: value}, "as a profile's value, too"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("rate", "fast")], "rate to be of type float"),
        ([("size", "1:30")], "size to be of type int"),
        ([("shares", "[1, 2")], r"-p shares \[1, 2 holds none"),
    ],
)
def test_a_value_of_another_type_is_one_line(validated, pairs, message):
    with pytest.raises(HematoVisionError, match=message) as error:
        validated(*pairs)
    assert "\n" not in str(error.value)


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


def test_what_a_system_leaves_behind_makes_no_step_run_again(tmp_path):
    (tmp_path / "a.png").touch()
    before = listed({"folder": str(tmp_path)})
    for name in (".DS_Store", "Thumbs.db", "._a.png"):
        (tmp_path / name).touch()
    assert listed({"folder": str(tmp_path)}) == before


def test_unknown_profile_and_step(chain):
    with pytest.raises(HematoVisionError, match="profile that is one of small"):
        run_chain("large", run_dir=chain.folder)
    with pytest.raises(HematoVisionError, match="--until to name one of the steps 01_first"):
        chain(from_step="third")


def test_importing_the_package_is_cheap():
    code = "import sys, hv_utils, hv_utils.cli; assert 'tensorflow' not in sys.modules"
    code += "; assert 'pandas' not in sys.modules, 'pandas'"
    subprocess.run([sys.executable, "-c", code], check=True)
