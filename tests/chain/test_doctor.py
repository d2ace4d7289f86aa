"""The check-up: each thing that can be missing, made to be missing."""

import json
import webbrowser
from importlib import metadata

import pytest
from click.testing import CliRunner

from conftest import ROOT
from hv_utils import cli
from hv_utils.chain import doctor
from hv_utils.chain.doctor import MISSING, NOTE, OK, Finding


def test_python_outside_the_bounds_is_missing():
    assert doctor.python(">=3.11,<3.14", "3.12.4").state == OK
    for version in ("3.10.9", "3.14.0"):
        found = doctor.python(">=3.11,<3.14", version)
        assert found.state == MISSING
        assert version in found.says


def test_a_package_that_is_absent_or_too_old_is_named():
    assert doctor.packages(("click>=8.1", 'nothing-such>=1; python_version < "3"')).state == OK
    found = doctor.packages(("click>=999", "no-such-package-at-all>=1", "numpy"))
    assert found.state == MISSING
    assert "click is" in found.says
    assert "no-such-package-at-all is not installed" in found.says
    assert "numpy" not in found.says


def test_another_version_than_the_locks_is_a_note(tmp_path):
    lock, has = tmp_path / "requirements.lock", metadata.version("click")
    assert doctor.locked(lock) == []
    lock.write_text(f"click=={has} \\\n    --hash=sha256:0\nnot-there-at-all==1.0 ; sys_platform\n")
    assert [one.state for one in doctor.locked(lock)] == [OK]
    lock.write_text("click==0.0.1 \\\n    --hash=sha256:0\n")
    (found,) = doctor.locked(lock)
    assert found.state == NOTE
    assert f"click {has}" in found.says


def test_an_absent_extra_is_a_note_that_says_what_it_is_for():
    assert doctor.extras({"serve": ("click",)}).state == OK
    found = doctor.extras({"serve": ("click",), "scale": ("no-such-package-at-all",)})
    assert found.state == NOTE
    assert "scale (hv predict --out)" in found.says
    assert "serve" not in found.says


def test_every_extra_is_told_what_it_is_for():
    assert set(doctor.declared().extras) <= set(doctor.EXTRA_IS_FOR)


def test_a_folder_that_cannot_be_written_is_missing(tmp_path, monkeypatch):
    assert doctor.writing(tmp_path).state == OK
    assert not list(tmp_path.iterdir()), "the trial leaves nothing behind"
    assert doctor.writing(tmp_path / "gone").state == MISSING

    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refuse)
    found = doctor.writing(tmp_path)
    assert found.state == MISSING
    assert "Permission denied" in found.says


@pytest.mark.parametrize(("free", "state"), [(0.2, MISSING), (20.0, OK)])
def test_space(free, state):
    assert doctor.space(free).state == state
    assert f"{free:.1f} GB" in doctor.space(free).says


@pytest.mark.parametrize(("total", "state"), [(2.0, NOTE), (8.0, OK)])
def test_memory(total, state):
    assert doctor.memory(total).state == state


def test_a_single_core_is_a_note():
    assert (doctor.cores(1).state, doctor.cores(2).state) == (NOTE, OK)


def test_no_browser_is_a_note(monkeypatch):
    def none():
        raise webbrowser.Error

    monkeypatch.setattr(doctor.webbrowser, "get", none)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.browser().state == NOTE
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert doctor.browser() == Finding(OK, "browser", "firefox")


def test_a_proxy_is_told_without_its_password():
    assert doctor.proxy({"no": "localhost"}, bypassed=False).state == OK
    found = doctor.proxy({"https": "http://ann:secret@proxy.example:3128"}, bypassed=False)
    assert found.state == NOTE
    assert "proxy.example" in found.says
    assert "NO_PROXY" in found.says
    assert "secret" not in found.says
    assert "NO_PROXY" not in doctor.proxy({"http": "proxy:80"}, bypassed=True).says


def test_the_time_of_the_demo_is_scaled_by_rate_and_cores(tmp_path):
    record = tmp_path / "demo.json"
    assert doctor.demo(40, 2, record).state == NOTE
    facts = {"seconds": 300, "images_per_s": 40.0, "notebooks": 16, "machine": {"cores": 2}}
    record.write_text(json.dumps(facts))
    for rate, cores, minutes in ((40, 2, 5), (20, 2, 10), (40, 1, 10), (40, 16, 5), (400, 2, 1)):
        assert f"about {minutes} minute" in doctor.demo(rate, cores, record).says


def test_the_record_of_the_demo_is_whole():
    facts = json.loads(doctor.RECORD.read_text())
    assert facts["notebooks"] == len(facts["seconds_by_notebook"])
    assert facts["seconds"] <= sum(facts["seconds_by_notebook"].values())
    assert facts["images_per_s"] > 1


def test_the_probe_counts_images_a_second():
    assert doctor.probe(0.2) > 0.5


def test_a_package_alone_is_told_of_the_demo_and_reads_its_own_metadata(tmp_path, monkeypatch):
    about = doctor.declared(ROOT)
    assert about.packages
    monkeypatch.setattr(doctor, "PROJECT_ROOT", tmp_path)
    bare = doctor.declared(tmp_path)
    assert bare.python
    assert any(line.startswith("tensorflow") for line in bare.packages)
    assert any(line.startswith("pytest") for line in bare.extras["dev"])
    assert not any(line.startswith("pytest") for line in bare.packages)
    found = doctor.examine(tmp_path)
    assert "package alone" in found[-1].says


@pytest.mark.parametrize("state", [OK, NOTE, MISSING])
def test_the_exit_status_tells_whether_something_essential_is_missing(monkeypatch, state):
    monkeypatch.setattr(doctor, "examine", lambda: [Finding(state, "space", "so much")])
    done = CliRunner().invoke(cli.hv, ["doctor"])
    assert done.exit_code == (state == MISSING)
    last = done.output.splitlines()[-1]
    assert last == ("missing: space" if state == MISSING else "nothing essential is missing")


def test_nothing_is_timed_while_something_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "probe", lambda: pytest.fail("timed"))
    monkeypatch.setattr(doctor, "space", lambda free: Finding(MISSING, "space", "none"))
    assert "not timed" in doctor.examine()[-1].says
