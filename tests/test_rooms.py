"""The rooms of the package: few entries at the top, doors as each room says, arrows one way."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import hv_utils
from conftest import ROOT

PACKAGE = ROOT / "hv_utils"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def said(room: str) -> set[str]:
    """Return the rooms that a room says it may import."""
    text = " ".join((PACKAGE / room / "__init__.py").read_text(encoding="utf-8").split())
    match = re.search(r"May import(?:: ([\w, ]+)\.| nothing of the package\.)", text)
    assert match, f"{room} does not say what it may import"
    return {"ground", *(match[1].split(", ") if match[1] else ())}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("hv_utils")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_says(graph, room):
    inside = {f"hv_utils.{room}", *graph.find_descendants(f"hv_utils.{room}")}
    used = {name for one in inside for name in graph.find_modules_directly_imported_by(one)}
    rooms = {name.split(".")[1] for name in used - inside if "." in name}
    assert rooms <= said(room)


def test_few_entries_at_the_top():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__init__.py", "__pycache__"}
    # A dozen, and `fields`: finding cells is neither decoding (`images`) nor judging (`inference`);
    # `serve`, the doors for a browser; and `classroom`, or the chain would hold two dozen modules.
    assert len(entries) <= 15, sorted(entries)


def test_the_picture_shows_every_room():
    picture = (ROOT / "book" / "images" / "rooms.svg").read_text(encoding="utf-8")
    assert set(re.findall(r'font-weight="600">(\w+)<', picture)) == {*ROOMS, "cli"}


def lint(folder: Path) -> subprocess.CompletedProcess:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("images/voc.py", "def late():\n    from hv_utils.chain import book\n"),
        ("inference/predict.py", "def late():\n    import tensorflow\n"),
        ("scores/metrics.py", "from hv_utils.images import reading\n"),
        ("fields/view.py", "from hv_utils.drawn import smear\n"),
    ],
)
def test_a_planted_wrong_import_is_found(tmp_path, module, planted):
    shutil.copytree(PACKAGE, tmp_path / "hv_utils", ignore=shutil.ignore_patterns("shipped"))
    assert lint(tmp_path).returncode == 0
    with (tmp_path / "hv_utils" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{planted}")
    found = lint(tmp_path)
    assert found.returncode == 1
    assert Path(module).stem in found.stdout


def test_the_package_is_this_checkouts():
    assert Path(hv_utils.__file__).parent == PACKAGE
