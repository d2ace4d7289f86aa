"""The command: whatever stops it is one line."""

import errno
import os
import subprocess
import sys

import pytest

from hv_utils import cli


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_one_line(monkeypatch, capsys, number):
    def refuse(**options):
        raise OSError(number, os.strerror(number), "/read/only")

    monkeypatch.setattr(cli.hv, "main", refuse)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hv: expected room and permission to write, but /read/only refuses it")
    assert os.strerror(number) in line


def test_another_fault_keeps_its_traceback(monkeypatch):
    def fail(**options):
        raise FileNotFoundError(errno.ENOENT, "No such file", "a")

    monkeypatch.setattr(cli.hv, "main", fail)
    with pytest.raises(FileNotFoundError):
        cli.main()


def test_a_run_folder_on_a_disk_that_refuses_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    command = [
        sys.executable,
        "-m",
        "hv_utils.cli",
        "book",
        "--run",
        str(tmp_path / "file" / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "choose another run" in line


def test_each_archive_is_one_of_a_list_in_their_order(monkeypatch, tmp_path):
    from click.testing import CliRunner

    from hv_utils.chain import pipeline
    from hv_utils.ground.runs import Run

    asked = {}

    def note(profile, **options):
        asked.update(options["overrides"])
        return Run(tmp_path)

    monkeypatch.setattr(pipeline, "run_chain", note)
    monkeypatch.chdir(tmp_path)
    command = ["run", "-p", "source", "kaggle,pbc", "--archive", "b.zip", "--archive", "a.zip"]
    done = CliRunner().invoke(cli.hv, command)
    assert done.exit_code == 0, done.output
    assert asked == {"source": "kaggle,pbc", "archive": f"{tmp_path}/b.zip,{tmp_path}/a.zip"}
