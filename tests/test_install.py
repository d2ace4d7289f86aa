"""The ways in: scripts/install.py behind make and make.cmd, and the package as a wheel."""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Load the script, with its paths in an empty folder."""
    spec = importlib.util.spec_from_file_location("install", ROOT / "scripts" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "READY", tmp_path / ".venv" / ".ready")
    monkeypatch.setattr(module, "DECLARED", (tmp_path / "requirements.lock",))
    return module


def test_programs_lie_where_each_system_puts_them(install):
    assert install.program("hv", windows=False) == install.VENV / "bin" / "hv"
    assert install.program("hv", windows=True) == install.VENV / "Scripts" / "hv.exe"


def test_an_older_or_newer_python_is_refused_in_one_line(install):
    assert install.wrong_python((3, 12)) == ""
    for version in ((3, 10), (3, 14)):
        assert re.match(
            r"install: expected Python 3\.11 to 3\.13, but .+\n?$", install.wrong_python(version)
        )


def test_the_environment_is_renewed_when_the_lock_is(install):
    lock = install.DECLARED[0]
    lock.write_text("")
    assert not install.is_ready()
    python = install.program("python")
    python.parent.mkdir(parents=True)
    python.touch()
    install.READY.touch()
    os.utime(lock, (1, 1))
    assert install.is_ready()
    os.utime(lock, (2**32, 2**32))
    assert not install.is_ready()


def test_make_cmd_runs_what_the_makefile_runs():
    """Nobody tries the one for Windows here, so it must not drift from the other."""
    makefile = re.sub(r"\$\(BIN\)/", "", (ROOT / "Makefile").read_text())
    cmd = (ROOT / "make.cmd").read_text().replace("%BIN%\\", "")
    for target in ("book", "test", "lab"):
        recipe = re.search(rf"^{target}: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
        wanted = [line.strip().lstrip("@") for line in recipe.splitlines()]
        block = re.search(rf"^:{target}\r?\n((?:.+\n)+)", cmd, re.MULTILINE)[1]
        found = [line.split(" ||")[0].strip() for line in block.splitlines()]
        assert found == [*wanted, "exit /b %errorlevel%"], target


@pytest.mark.slow
def test_a_wheel_predicts_and_says_what_a_run_needs(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(tmp_path), str(ROOT)], check=True, cwd=tmp_path)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    Image.fromarray(np.full((240, 320, 3), 230, np.uint8)).save(tmp_path / "cell.png")

    def hv(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "hv_utils.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
            check=False,
        )

    answer = hv("predict", "cell.png")
    assert answer.returncode == 0, answer.stderr
    assert "not_a_cell" in answer.stdout
    for command in (["run"], ["run", "--list"], ["book"]):
        answer = hv(*command)
        assert answer.returncode == 1
        assert re.fullmatch(r"hv: expected the project's notebooks at .*clone.*\n", answer.stderr)
    answer = hv("doctor")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "a package alone" in answer.stdout
