"""The kit for a room: whole, without results and solutions, and at home wherever it lies."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from click.testing import CliRunner

from conftest import ROOT
from fake_run import make_run
from hv_utils import cli
from hv_utils.chain.book_check import check_links
from hv_utils.classroom import machines
from hv_utils.classroom.kits import write_course
from hv_utils.classroom.machines import MACHINE, SUMS, Room
from hv_utils.classroom.open_pages import RESULT, write_open_pages
from hv_utils.classroom.wheels import Target
from hv_utils.drawn.paper import sheets
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from solution_search import EXERCISES, leaks, what_is_no_secret

TARGETS = [Target("linux", "3.12"), Target("windows", "3.13"), Target("windows", "3.11")]
LINK = '<nav><ul><li><a href="../lessons/1-a.html">one</a></li><li><a href="b.html">b</a></li></ul>'
PAGE = """<html><head><script src="../_static/a.js?v=1"></script>
<script src="../searchindex.js"></script></head><body>{nav}</nav>
<section id="top"><h1>{title}<a href="#top">#</a></h1><p>See <a href="02.html#x">two</a>.</p>
<div class="teacher admonition">the bars</div>
<section id="result"><h2>R</h2><p>it is <span class="pasted-text">0.91</span></p></section>
<section id="wrap-up"><h2>W</h2><p>copies tell nothing</p></section></section></body></html>"""


def write_book(html: Path) -> Path:
    """Write a book of three pages as Jupyter Book would."""
    for name in ("book/01-introduction", "book/lessons/1-a", "book/glossary", "book/02"):
        path = html / f"{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        nav = LINK if "lessons" not in name else "<nav>"
        page = PAGE.format(title=name, nav=nav)
        up = "../" * name.count("/")
        path.write_text(page.replace("../_static", f"{up}_static"))
    (html / "_static").mkdir()
    (html / "_static" / "a.js").write_text("0")
    (html / "searchindex.js").write_text("solutions and all")
    return html


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Write a kit from a made-up run, a small book and two small wheels; return kit and run."""
    folder = tmp_path_factory.mktemp("room")
    run = make_run(folder / "runs" / "fake", ROOT)
    (run.folder / ".lock").write_text("")
    (run.folder / "images.csv").write_text(
        f"path,label,mask\n{run.folder}/data/a.jpeg,01,\n/elsewhere/b.jpeg,02,{run.folder}/m.png\n"
    )
    (run.folder / "figures").mkdir(exist_ok=True)
    (run.folder / "figures" / "leak.png").write_bytes(b"a result")
    wheels = {}
    for name in ("alpha-1-py3-none-any.whl", "beta-2-cp312-cp312-win_amd64.whl"):
        (folder / name).write_text(name)
        wheels[name] = folder / name
    made = Room(run, write_book(folder / "html"), TARGETS, echo=lambda line: None)
    made.wheels = wheels
    kits = write_course(folder / "kits", sheets(), complete=made.write)
    return kits, run


def texts(folder: Path) -> dict[str, str]:
    kinds = (".csv", ".json", ".ipynb", ".md", ".html", ".txt", ".py", ".sh", ".cmd", ".toml", "")
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in kinds
    }


class TestMachine:
    def test_has_all_that_is_needed(self, made):
        machine = made[0] / MACHINE
        for name in (
            *("install.sh", "install.cmd", "start.sh", "start.cmd", "scripts/install.py"),
            *("pyproject.toml", "README.md", "LICENSE", "requirements.lock", "hv_utils/cli.py"),
            *("hv_utils/shipped/travelling.onnx", "results/demo.json", "book/index.html"),
            *("notebooks/01_data.ipynb", "notebooks/profiles/demo.yaml", "paper/paper.html"),
            *("runs/demo/images.csv", "wheels/alpha-1-py3-none-any.whl"),
        ):
            assert (machine / name).is_file(), name
        listed = (machine / "wheels" / "made-for.txt").read_text().split()
        assert listed == [str(one) for one in TARGETS]
        assert "When a notebook dies" in (machine / "README.md").read_text()
        assert "The kernel appears to have died" in (machine / "README.md").read_text()

    def test_shows_neither_solutions_nor_results(self, made):
        machine = made[0] / MACHINE
        names = {path.relative_to(machine).parts[0] for path in machine.rglob("*")}
        assert not names & {"tests", ".git", "student", "teacher"}
        assert not list(machine.rglob("*solution*"))
        assert not list(machine.rglob("*key.csv")), "of the sheets on paper"
        assert not (machine / "runs/demo/notebooks").exists()
        assert not (machine / "runs/demo/figures").exists()
        shown = what_is_no_secret(ROOT)
        for name in ("notebooks", "paper", "book", "runs"):
            assert leaks(machine / name, shown) == set(), name
        assert EXERCISES

    def test_speaks_of_no_other_machine(self, made):
        kits, run = made
        for name, text in texts(kits / MACHINE).items():
            assert str(run.folder.parents[2]) not in text, name
            assert str(Path.home()) + "/" not in text.replace("~/", ""), name
        assert "://" not in (kits / MACHINE / "requirements.lock").read_text()

    def test_a_run_is_at_home_wherever_it_lies(self, made, tmp_path):
        kits, run = made
        moved = shutil.copytree(kits / MACHINE / "runs" / "demo", tmp_path / "moved")
        there, here = run.read_table("images.csv"), Run.open(moved).read_table("images.csv")
        assert list(here["path"]) == [f"{moved}/data/a.jpeg", "/elsewhere/b.jpeg"]
        assert here["mask"][1] == f"{moved}/m.png"
        assert list(here.fillna("").columns) == list(there.columns)

    @pytest.mark.parametrize("name", ["machine", "student", "teacher"])
    def test_checksums_are_of_every_file(self, made, name):
        folder = made[0] / name
        lines = (folder / SUMS).read_text().splitlines()
        named = {line.partition("  ")[2]: line.partition("  ")[0] for line in lines}
        found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        assert named.keys() == found - {SUMS}
        for file, wanted in named.items():
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == wanted, file

    def test_scripts_are_sound(self, made):
        machine = made[0] / MACHINE
        for name in ("install.sh", "start.sh"):
            subprocess.run(["sh", "-n", machine / name], check=True)
            assert b"\r" not in (machine / name).read_bytes()
            if shutil.which("shellcheck"):
                subprocess.run(["shellcheck", machine / name], check=True)
        for name in ("install.cmd", "start.cmd"):
            data = (machine / name).read_bytes()
            assert data.count(b"\r\n") == data.count(b"\n") > 5
            labels = set(re.findall(rb"(?m)^:(\w+)", data))
            assert set(re.findall(rb"goto (\w+)", data)) <= labels
        assert "for version in 3.12; do" in (machine / "install.sh").read_text()
        assert "in (3.11 3.13) do" in (machine / "install.cmd").read_text()
        both = [(machine / name).read_text() for name in ("start.sh", "start.cmd")]
        assert len({tuple(re.findall(r"--\w[\w.-]*", text)) for text in both}) == 1

    def test_scripts_without_an_installation_say_so(self, made, tmp_path):
        machine = made[0] / MACHINE
        for name in ("install.sh", "start.sh"):
            shutil.copy(machine / name, tmp_path)
        quiet = {"capture_output": True, "text": True, "cwd": tmp_path}
        start = subprocess.run(["sh", "start.sh"], **quiet)
        assert start.returncode == 1
        assert "sh install.sh" in start.stderr
        sh = shutil.which("sh")
        none = subprocess.run([sh, "install.sh"], env={"PATH": str(_tools(tmp_path))}, **quiet)
        assert none.returncode == 1
        assert none.stderr.startswith("install: expected Python 3.12, but there is none")


def _tools(folder: Path) -> Path:
    tools = folder / "bin"
    tools.mkdir()
    (tools / "dirname").symlink_to(shutil.which("dirname"))
    return tools


class TestTeacherAndRoom:
    def test_the_teacher_has_the_whole_book(self, made):
        assert (made[0] / "teacher/book/searchindex.js").is_file()
        assert (made[0] / "teacher/notebooks/01_data.ipynb").is_file()

    def test_the_readme_says_what_is_needed(self, made):
        text = (made[0] / "README.md").read_text()
        assert "Made for linux-3.12, windows-3.13, windows-3.11" in text
        assert "Python 3.11 or 3.12 or 3.13" in text
        assert "GB of free space" in text
        assert "{" not in text


class TestOpenPages:
    def test_leave_out_results_and_what_only_teachers_read(self, tmp_path):
        pages = write_open_pages(write_book(tmp_path / "html"), tmp_path / "out")
        assert pages == [
            *("book/01-introduction.html", "book/lessons/1-a.html", "book/glossary.html")
        ]
        for name in pages:
            text = (tmp_path / "out" / name).read_text()
            for secret in ("0.91", "the bars", "copies tell nothing", "searchindex"):
                assert secret not in text
            assert "See <span>two</span>." in text
        assert not (tmp_path / "out" / "searchindex.js").exists()
        assert (tmp_path / "out" / "_static" / "a.js").is_file()

    def test_a_result_outside_of_a_section_is_refused(self, tmp_path):
        html = write_book(tmp_path / "html")
        path = html / "book" / "glossary.html"
        path.write_text(path.read_text().replace("See ", '<b class="pasted-text">1</b>'))
        with pytest.raises(HematoVisionError, match="below a heading"):
            write_open_pages(html, tmp_path / "out")

    def test_a_book_without_them_is_refused(self, tmp_path):
        with pytest.raises(HematoVisionError, match="hv book --force"):
            write_open_pages(tmp_path, tmp_path / "out")

    @pytest.mark.slow
    @pytest.mark.xdist_group("built")
    def test_of_the_real_book_lead_nowhere_else(self, built, tmp_path):
        html = built[1].parent
        pages = write_open_pages(html, tmp_path / "out")
        assert len(pages) == 9
        for name in pages:
            soup = BeautifulSoup((tmp_path / "out" / name).read_text(), "html.parser")
            assert not soup.select(RESULT)
            assert soup.h1
        faults = check_links(tmp_path / "out")
        assert faults == []
        assert leaks(tmp_path / "out", what_is_no_secret(ROOT)) == set()


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--room"], "expected --run beside --room"),
            (["--for", "linux-3.12"], "expected --room beside --for"),
            (["--run", "x", "--room", "--for", "linux-2.7"], "say it as linux-3.12"),
        ],
    )
    def test_words_that_do_not_fit(self, tmp_path, words, said, monkeypatch):
        monkeypatch.setattr(cli, "_run_folder", lambda name: tmp_path / "run")
        done = CliRunner().invoke(cli.hv, ["course", str(tmp_path / "kits"), *words])
        assert isinstance(done.exception, HematoVisionError)
        assert said in str(done.exception)
        assert not (tmp_path / "kits").exists()

    def test_a_target_that_holds_something_is_told_before_anything_is_downloaded(self, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        words = ["course", str(tmp_path), "--run", "x", "--room"]
        done = CliRunner().invoke(cli.hv, words)
        assert "mine.txt lies in it" in str(done.exception)

    def test_a_full_disk_leaves_nothing_behind(self, made, tmp_path, monkeypatch):
        usage = shutil.disk_usage(tmp_path)._replace(free=10)
        monkeypatch.setattr(machines.shutil, "disk_usage", lambda path: usage)
        html = write_book(tmp_path / "html")
        planned = Room(made[1], html, TARGETS, echo=lambda line: None)
        with pytest.raises(HematoVisionError, match="of free space for the kit"):
            write_course(tmp_path / "kits", sheets(), complete=planned.write)
        assert not [path for path in tmp_path.iterdir() if "kits" in path.name]
