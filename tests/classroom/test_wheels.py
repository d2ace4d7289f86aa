"""The wheels of a kit: what the lock says, for which machine, and what goes wrong with pip."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from hv_utils.chain.doctor import declared
from hv_utils.classroom import wheels
from hv_utils.classroom.wheels import Target, fetch, needed, read_lock
from hv_utils.ground.errors import HematoVisionError

LINUX, WINDOWS = Target("linux", "3.12"), Target("windows", "3.12")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


LOCK = f"""\
alpha==1.0 \\
    --hash=sha256:{digest("alpha-1.0")} \\
    --hash=sha256:{digest("alpha-1.0-of-windows")}
    # via hematovision (pyproject.toml)
beta==1.0 ; python_full_version < '3.12.3' \\
    --hash=sha256:{digest("beta-1.0")}
    # via
    #   alpha
    #   other
beta==2.0 ; python_full_version >= '3.12.3' \\
    --hash=sha256:{digest("beta-2.0")}
    # via alpha
colour==3 ; sys_platform == 'win32' \\
    --hash=sha256:{digest("colour-3")}
    # via beta
other==5 \\
    --hash=sha256:{digest("other-5")}
    # via hematovision (pyproject.toml)
"""


@pytest.fixture
def pins(tmp_path):
    (tmp_path / "lock.txt").write_text(LOCK)
    return needed(read_lock(tmp_path / "lock.txt"), ["Alpha>=0.5"])


@pytest.fixture
def pip(monkeypatch):
    """Put a pip in the place of the real one that writes what is asked for; keep its calls."""
    calls = []

    def run(command, **options):
        if run.fails is not None:
            return subprocess.CompletedProcess(command, 1, "", run.fails)
        listed = Path(command[command.index("-r") + 1]).read_text()
        names = re.findall(r"(?m)^([\w.-]+)==(\S+) --hash", listed)
        calls.append([f"{name}-{version}" for name, version in names])
        folder = Path(command[command.index("--dest") + 1])
        for name in calls[-1]:
            (folder / f"{name}-py3-none-any.whl").write_text(run.damage + name)
        return subprocess.CompletedProcess(command, 0, "", "")

    run.fails, run.damage, run.calls = None, "", calls
    monkeypatch.setattr(wheels.subprocess, "run", run)
    return run


def test_only_what_is_needed_directly_or_through_others(pins):
    assert [f"{pin.name} {pin.version}" for pin in pins] == [
        *("alpha 1.0", "beta 1.0", "beta 2.0", "colour 3")
    ]
    assert "other" not in "".join(pin.lines for pin in pins if pin.name != "beta")
    assert "".join(pin.lines for pin in pins) in LOCK


def test_the_projects_own_lock_gives_the_lessons_what_they_need():
    every = read_lock(ROOT / "requirements.lock")
    names = {pin.name for pin in needed(every, declared(ROOT).packages)}
    assert {"tensorflow", "jupyterlab", "papermill", "setuptools"} <= names
    assert not names & {"pytest", "lime", "shap", "fastapi", "distributed", "schemathesis"}
    assert all(pin.hashes for pin in every)
    text = (ROOT / "requirements.lock").read_text()
    assert len(every) == len(re.findall(r"(?m)^[\w.-]+==", text)), "no line is passed over"
    assert "".join(pin.lines for pin in every) == text


def test_each_machine_gets_its_own_and_both_sides_of_a_bound(pins, pip, tmp_path):
    for target, more in ((LINUX, 0), (WINDOWS, 1)):
        found = fetch(pins, target, tmp_path / str(target), lambda line: None)
        assert len(found) == 3 + more
        assert any("beta-1.0" in path.name for path in found)
        assert any("beta-2.0" in path.name for path in found)
        assert ("colour-3" in "".join(path.name for path in found)) == bool(more)
    assert all(len({name.partition("-")[0] for name in call}) == len(call) for call in pip.calls)


def test_what_is_there_is_not_asked_for_again(pins, pip, tmp_path):
    fetch(pins, LINUX, tmp_path, lambda line: None)
    before = len(pip.calls)
    (tmp_path / "beta-2.0-py3-none-any.whl").write_text("cut off")
    fetch(pins, LINUX, tmp_path, lambda line: None)
    assert pip.calls[before:] == [["beta-2.0"]]


def test_a_file_of_another_hash_is_refused(pins, pip, tmp_path):
    pip.damage = "not "
    with pytest.raises(HematoVisionError, match=r"expected alpha 1\.0 .* with a hash of the lock"):
        fetch(pins, LINUX, tmp_path, lambda line: None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "WARNING: Retrying after connection broken by 'NameResolutionError'\n"
            "ERROR: No matching distribution found for alpha==1.0",
            "the package index was not reached: look at the network or the proxy",
        ),
        (
            "ERROR: No matching distribution found for alpha==1.0",
            "there is no wheel of alpha==1.0 for it: choose another Python with --for",
        ),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("/usr/bin/python: No module named pip", "python -m ensurepip"),
        ("", "pip said nothing"),
    ],
)
def test_a_failure_of_pip_is_one_line(pins, pip, tmp_path, said, told):
    pip.fails = said
    with pytest.raises(HematoVisionError) as failure:
        fetch(pins, LINUX, tmp_path, lambda line: None)
    assert told in str(failure.value)
    assert "for linux-3.12" in str(failure.value)
    assert "what was downloaded is kept" in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", ["linux", "linux-3.9", "amiga-3.12", "", "linux-3.12-arm"])
def test_a_machine_that_nobody_has_is_refused(name):
    with pytest.raises(HematoVisionError, match=r"say it as linux-3\.12"):
        Target.named(name)


def test_this_machine_has_a_name_or_is_refused(monkeypatch):
    monkeypatch.setattr(wheels.platform, "machine", lambda: "riscv64")
    with pytest.raises(HematoVisionError, match=r"riscv64.*--for"):
        Target.here()
    monkeypatch.setattr(wheels.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(wheels.sys, "platform", "linux")
    assert Target.here().system == "linux"


def test_no_lock_is_told(tmp_path):
    with pytest.raises(HematoVisionError, match="work in a clone"):
        read_lock(tmp_path / "requirements.lock")
