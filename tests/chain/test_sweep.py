"""Sweeps: the grid, chains side by side, what fails, and the same command again."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import ROOT
from hv_utils import cli
from hv_utils.chain import sweep
from hv_utils.chain.sweep import PLAN, Point, plan, run_point, run_sweep, values_of
from hv_utils.ground.errors import HematoVisionError

# A chain of one step, put in place of the project's in the process of each point. No kernel starts:
# how a notebook is carried out is tested with the chain.
SMALL = """
import json, sys, time, types
from pathlib import Path
from hv_utils.ground.errors import HematoVisionError

here = Path({here!r})

def run_notebook(step, run, values, **_):
    run.path("notebooks").mkdir(exist_ok=True)
    if values["rate"] < 0:
        raise HematoVisionError("expected a rate above 0, but got less: mend it")
    if values["rate"] > 1 and not (here / "go on").exists():
        time.sleep(60)
    (run.path("notebooks") / step.notebook.name).touch()
    score = 0.8 + values["seed"] / 100
    interval = {{"macro_f1": {{"low": score - 0.1, "high": score + 0.1}}}}
    cells = {{"macro_f1": score, "accuracy": score, "intervals": interval}}
    run.write_json("metrics.json", {{"macro_f1": score, "accuracy": score, "per_cell": cells}})

execution = types.ModuleType("execution")
execution.run_notebook = run_notebook
sys.modules["hv_utils.chain.execution"] = execution
from hv_utils.chain import parameters, pipeline, steps, sweep
from hv_utils.chain.steps import Step
steps.NOTEBOOKS, parameters.PROFILES = here / "notebooks", here / "profiles"
chain = (Step("01_only", (), ("metrics.json",)),)
run = pipeline.run_chain
pipeline.run_chain = lambda profile, **options: run(profile, steps=chain, **options)
sweep.main()
"""
PARAMETERS = 'run_dir: str = "runs/x"  # the folder\nseed: int = 0  # draws\nrate: float = 0.5\n'


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("seed", "0..3", ["0", "1", "2", "3"]),
        ("seed", "-1..1,7", ["-1", "0", "1", "7"]),
        ("dropout", "0.2, 0.4", ["0.2", "0.4"]),
        ("demo_photos", "[8, 8],[9, 9]", ["[8, 8]", "[9, 9]"]),
        ("archive", "a.zip,b.zip", ["a.zip,b.zip"]),
        ("source", "kaggle,pbc", ["kaggle,pbc"]),
    ],
)
def test_values(name, text, values):
    assert values_of(name, text) == values


@pytest.mark.parametrize("text", ["3..1", "0..5000"])
def test_a_range_that_cannot_be_meant(text):
    with pytest.raises(HematoVisionError, match="expected a range that goes up"):
        values_of("seed", text)


def test_the_grid_and_its_folders(tmp_path):
    pairs = [("seed", "0..1"), ("dropout", "0.2,0.4"), ("n_images", "12"), ("source", "demo")]
    points = plan("smoke", pairs, folder=tmp_path)
    names = [point.name for point in points]
    assert names == [f"seed-{s}-dropout-{d}" for s in (0, 1) for d in (0.2, 0.4)]
    assert points[1].varied == {"seed": "0", "dropout": "0.4"}
    assert points[1].overrides["n_images"] == "12"
    assert points[1].run_dir == str(tmp_path / "seed-0-dropout-0.4")


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("sead", "0..1")], "none declares 'sead'"),
        ([("seed", "0,x")], "seed to be of type int"),
        ([("seed", "0")], "these parameters make 1: vary one"),
        ([("seed", "0..99"), ("n_images", "1..99")], "these parameters make 9,900"),
    ],
)
def test_what_hv_run_refuses_is_refused_before_anything_runs(tmp_path, pairs, words):
    with pytest.raises(HematoVisionError, match=words):
        plan("smoke", pairs, folder=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


@pytest.fixture
def small(tmp_path, monkeypatch, write_notebook):
    """Let each point run a chain of one step; return what gives points."""
    write_notebook(tmp_path / "notebooks/01_only.ipynb", PARAMETERS, "pass")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/small.yaml").write_text("")
    (tmp_path / "small.py").write_text(SMALL.format(here=str(tmp_path)))
    popen = subprocess.Popen

    def start(command, **options):
        if command[1:] == ["-m", "hv_utils.chain.sweep"]:
            command = [sys.executable, str(tmp_path / "small.py")]
            options["env"] = {**os.environ, "PYTHONPATH": str(ROOT)}
        return popen(command, **options)

    monkeypatch.setattr(sweep.subprocess, "Popen", start)

    def point(seed, rate):
        name = f"seed-{seed}-rate-{rate}"
        values = {"seed": str(seed), "rate": str(rate)}
        return Point(name, values, "small", values, str(tmp_path / "sweep" / name))

    return point


def test_one_fails_and_the_others_end_and_nothing_runs_twice(small, tmp_path):
    points = [small(0, 0.2), small(0, -1), small(1, 0.2)]
    lines = []
    options = {"folder": tmp_path / "sweep", "jobs": 2, "echo": lines.append}
    outcomes = run_sweep(points, **options)
    assert [bool(one.error) for one in outcomes] == [False, True, False]
    assert outcomes[1].error == "expected a rate above 0, but got less: mend it"
    assert outcomes[2].metrics["macro_f1"] == pytest.approx(0.81)
    assert any(line.startswith("(3/3) ") for line in lines)
    manifest = json.loads((tmp_path / "sweep/seed-1-rate-0.2/manifest.json").read_text())
    assert manifest["command"].endswith("-p seed 1 -p rate 0.2")
    lines.clear()
    again = run_sweep(points, **options)
    assert sum("01_only: up to date" in line for line in lines) == 2
    assert [one.metrics for one in again] == [one.metrics for one in outcomes]


def test_a_chain_ends_with_the_process_that_began_it(small, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / PLAN).write_text("{}")
    point = small(0, 2)
    chain = sweep.subprocess.Popen(
        [sys.executable, "-m", "hv_utils.chain.sweep"], stdin=subprocess.PIPE, text=True
    )
    chain.stdin.write(json.dumps(sweep.asdict(point)) + "\n")
    chain.stdin.flush()
    executed = Path(point.run_dir, "notebooks")
    until = time.monotonic() + 60
    while not executed.exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    chain.stdin.close()  # as when the sweep is killed
    assert chain.wait(timeout=10) == 1
    (tmp_path / "go on").touch()
    outcome = run_point(point)
    assert not outcome.error, "the folder is free, and the same point goes on"


def test_a_worker_that_does_not_see_the_folder(small, tmp_path):
    with pytest.raises(HematoVisionError, match="expected the workers to see"):
        run_point(small(0, 0.2))


def test_the_command(small, tmp_path, monkeypatch):
    points = [small(seed, 0.2) for seed in (0, 1)]
    points.append(small(2, -1))
    monkeypatch.setattr(sweep, "plan", lambda *_, **__: points)
    asked = ["sweep", "--profile", "small", "--run", str(tmp_path / "sweep"), "-p", "seed", "0..2"]
    result = CliRunner().invoke(cli.hv, asked)
    assert result.exit_code == 1
    assert "seed-2-rate--1 failed: expected a rate above 0" in result.output
    table = (tmp_path / "sweep" / "sweep.csv").read_text()
    assert table.startswith("run,seed,rate,macro_f1_by_cell")
    assert table.count("\n") == 4
    assert "0.805" in result.output, "the mean of 0.80 and 0.81"
    page = (tmp_path / "sweep" / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "a rate above 0" in page


@pytest.mark.slow
@pytest.mark.xdist_group("dask")
def test_a_scheduler_runs_them_and_a_killed_worker_costs_nothing(small, tmp_path):
    pytest.importorskip("distributed")
    from dask_cluster import Cluster

    (tmp_path / "dask").mkdir()
    instead = f"""
from hv_utils.chain import sweep
popen = sweep.subprocess.Popen
def start(command, **options):
    small = [sys.executable, {str(tmp_path / "small.py")!r}]
    return popen(small if "hv_utils.chain.sweep" in command else command, **options)
sweep.subprocess.Popen = start
"""
    cluster = Cluster(tmp_path / "dask", more=instead)
    killed = []

    def kill(line):
        if not killed:
            killed.append(cluster.workers[0].kill())
            cluster.add()

    try:
        cluster.add()
        points = [small(seed, 0.2) for seed in range(3)]
        options = {"folder": tmp_path / "sweep", "jobs": 1, "scheduler": cluster.address}
        outcomes = run_sweep(points, echo=kill, **options)
    finally:
        cluster.close()
    assert [one.error for one in outcomes] == ["", "", ""]
    assert [one.metrics["macro_f1"] for one in outcomes] == pytest.approx([0.8, 0.81, 0.82])


def test_jobs_and_scheduler_do_not_go_together():
    asked = ["sweep", "-p", "seed", "0..1", "--jobs", "2", "--scheduler", "tcp://127.0.0.1:9"]
    result = CliRunner().invoke(cli.hv, asked)
    assert "expected --jobs or --scheduler, but got both" in str(result.exception)


def test_ctrl_c_leaves_no_chain_behind(small, tmp_path):
    def stop(line):
        raise KeyboardInterrupt

    points = [small(0, 0.2), small(0, 2)]
    with pytest.raises(KeyboardInterrupt):
        run_sweep(points, folder=tmp_path / "sweep", jobs=2, echo=stop)
    assert not sweep._chains or all(chain.wait(timeout=10) for chain in sweep._chains)
