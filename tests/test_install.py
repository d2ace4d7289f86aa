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


@pytest.fixture
def kit(install, tmp_path, monkeypatch):
    """Let the script find itself in a kit."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").write_text("a")
    (tmp_path / "wheels" / "made-for.txt").write_text("linux-3.12\nwindows-3.11\n")
    digest = install.sha256(tmp_path / "wheels" / "a.whl")
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  wheels/a.whl\n{digest}  book/index.html\n")
    for name, value in {
        "ROOT": tmp_path,
        "WHEELS": tmp_path / "wheels",
        "MADE_FOR": tmp_path / "wheels" / "made-for.txt",
        "SUMS": tmp_path / "SHA256SUMS",
    }.items():
        monkeypatch.setattr(install, name, value)
    return install


def test_a_kit_is_for_what_it_was_made_for(kit):
    assert kit.wrong_kit((3, 12), "linux") == ""
    assert kit.wrong_kit((3, 11), "win32") == ""
    assert "but this is linux-3.13" in kit.wrong_kit((3, 13), "linux")
    assert kit.wrong_kit((3, 13), "linux").endswith(": install Python 3.12")
    assert kit.wrong_kit((3, 12), "darwin").endswith(": ask for a kit for this system")


def test_outside_of_a_kit_every_system_will_do(install):
    assert install.wrong_kit((3, 12), "darwin") == ""
    assert install.damaged() == ""


def test_a_wheel_that_was_cut_on_its_way_is_named(kit):
    assert kit.damaged() == ""
    (kit.WHEELS / "a.whl").write_text("")
    assert kit.damaged().startswith("install: expected the kit as it was made, but wheels/a.whl is")
    (kit.WHEELS / "a.whl").unlink()
    assert "copy the folder again" in kit.damaged()


def test_a_full_disk_is_told_before_the_installation(kit, monkeypatch):
    usage = kit.shutil.disk_usage(kit.ROOT)
    monkeypatch.setattr(kit.shutil, "disk_usage", lambda path: usage._replace(free=int(1e9)))
    assert "but there are 1.0: make room" in kit.no_room()
    monkeypatch.setattr(kit.shutil, "disk_usage", lambda path: usage._replace(free=int(9e9)))
    assert kit.no_room() == ""


def test_a_kit_installs_without_an_index(kit, monkeypatch):
    commands = []
    monkeypatch.setattr(kit, "wrong_python", lambda: "")
    monkeypatch.setattr(kit, "wrong_kit", lambda: "")
    monkeypatch.setattr(kit.shutil, "disk_usage", lambda path: type("", (), {"free": 9e9}))

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(kit.subprocess, "run", run)
    kit.VENV.mkdir()
    assert kit.main() == 0
    installs = [command for command in commands if "install" in command]
    assert len(installs) == 2
    for command in installs:
        assert command[command.index("--find-links") + 1] == str(kit.WHEELS)
        assert "--no-index" in command
