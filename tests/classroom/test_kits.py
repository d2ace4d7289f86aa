"""The two kits: what the class gets holds no solution, and runs."""

import base64
import json
import re
import shutil
import subprocess
import sys

import cv2
import nbformat
import pytest
from click.testing import CliRunner

from conftest import ROOT
from fake_run import make_run
from hv_utils import cli
from hv_utils.classroom.exercises import parts_of, read_exercises
from hv_utils.classroom.kits import write_course
from hv_utils.classroom.lessons import lesson_names
from hv_utils.drawn.paper import sheets
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from hv_utils.images.labels import CLASSES
from hv_utils.serve.versus import read_versus
from solution_search import EXERCISES, everything, leaks, squeezed, what_is_no_secret

KINDS = {".ipynb", ".md", ".html", ".png", ".svg"}
PNG_CHUNKS = {b"IHDR", b"IDAT", b"IEND"}


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    return write_course(tmp_path_factory.mktemp("course") / "kits", sheets())


@pytest.fixture(scope="module")
def shown() -> str:
    return what_is_no_secret(ROOT)


class TestStudent:
    def test_holds_no_solution(self, kits, shown):
        assert leaks(kits / "student", shown) == set()
        assert {path.suffix for path in kits.rglob("student/**/*") if path.is_file()} <= KINDS

    def test_the_search_would_find_one(self, kits, shown, tmp_path):
        planted = EXERCISES[0].solution
        assert len(leaks(kits / "teacher", shown)) > 200
        for number, place in enumerate(("source", "metadata", "attachment")):
            folder = tmp_path / place
            shutil.copytree(kits / "student", folder)
            path = folder / "notebooks" / "05_gradcam.ipynb"
            notebook = json.loads(path.read_text())
            cell = notebook["cells"][number]
            if place == "source":
                cell["source"] = planted.splitlines(keepends=True)
            elif place == "metadata":
                notebook["metadata"]["key"] = planted
            else:
                coded = base64.b64encode(planted.encode()).decode()
                cell["attachments"] = {"a.txt": {"text/plain": coded}}
            path.write_text(json.dumps(notebook))
            assert len(leaks(folder, shown)) > 5, place

    def test_shows_no_result_and_no_link_to_one(self, kits):
        for path in (kits / "student" / "notebooks").glob("*.ipynb"):
            notebook = nbformat.read(path, as_version=4)
            nbformat.validate(notebook)
            for cell in notebook.cells:
                assert set(cell.metadata) <= {"tags"}
                assert not cell.get("attachments")
                assert not cell.get("outputs")
                assert cell.get("execution_count") is None
                assert "../book/" not in cell.source
                assert "## What we learnt" not in cell.source

    def test_pictures_say_nothing_beside_what_is_drawn(self, kits):
        for path in (kits / "student" / "paper").glob("*.png"):
            data, at, chunks = path.read_bytes(), 8, set()
            while at < len(data):
                length = int.from_bytes(data[at : at + 4], "big")
                chunks.add(data[at + 4 : at + 8])
                at += length + 12
            assert chunks <= PNG_CHUNKS
            assert cv2.imread(str(path)).shape[2] == 3

    @pytest.mark.parametrize("exercise", EXERCISES, ids=lambda one: f"{one.page}/{one.number}")
    def test_has_task_hint_level_minutes_stub_and_check(self, kits, exercise):
        path = kits / "student" / "notebooks" / f"{exercise.page}.ipynb"
        cells = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
        task = cells[f"exercise-{exercise.number}"].source
        for part in (exercise.title, exercise.hint, f"Level {exercise.level} of 3"):
            assert part in task
        assert f"about {exercise.minutes} minutes" in task
        assert 5 <= exercise.minutes <= 30
        assert cells[f"exercise-{exercise.number}-answer"].source.strip()
        assert (f"exercise-{exercise.number}-check" in cells) == bool(exercise.stub)
        assert exercise.stub or exercise.unchecked in task

    def test_exercises_stand_last(self, kits):
        """A stub gives its names the value `...`, and cells behind it may use the same names."""
        for path in (kits / "student" / "notebooks").glob("*.ipynb"):
            names = [cell.id for cell in nbformat.read(path, as_version=4).cells]
            first = names.index("exercises") if "exercises" in names else len(names)
            assert all(name.startswith("exercise") for name in names[first:]), path.name
            assert not any(name.startswith("exercise") for name in names[:first]), path.name

    def test_marks_of_the_book_are_translated(self, kits):
        text = everything(kits / "student" / "notebooks")
        assert not re.findall(r"\{(?:cite|term|admonition|glue)\b[^}]*\}", text)
        assert ">**Whatyouwilllearn**" in text

    def test_paper_is_a_page_to_print(self, kits):
        page = (kits / "student" / "paper" / "paper.html").read_text(encoding="utf-8")
        assert page.count("<h2>") == 7
        assert page.count("<table>") == 2
        assert "{cite" not in page
        for picture in re.findall(r'src="([^"]+)"', page):
            assert (kits / "student" / "paper" / picture).is_file()

    def test_has_a_handout_a_lesson_and_no_slides(self, kits):
        pages = sorted(path.stem for path in (kits / "student" / "handouts").glob("*.html"))
        assert pages == lesson_names()
        assert not (kits / "student" / "slides").exists()

    def test_the_sheet_of_forty_cells_is_a4_and_says_no_name(self, kits):
        page = (kits / "student" / "paper" / "contact.html").read_text(encoding="utf-8")
        assert 'src="contact.png"' in page
        assert "size: A4" in page
        assert not [name for name in CLASSES if name in page]
        height, width = cv2.imread(str(kits / "student" / "paper" / "contact.png")).shape[:2]
        assert height / width == pytest.approx(297 / 210, abs=1e-3)

    @pytest.mark.slow
    @pytest.mark.xdist_group("smoke")
    def test_runs_to_its_end(self, kits, smoke, tmp_path):
        """The last check says that the exercise is open, and nothing before it fails."""
        notebook = kits / "student" / "notebooks" / "04_evaluation.ipynb"
        run = shutil.copytree(smoke.folder, tmp_path / "run")
        command = [sys.executable, "-c", RUN_ALL, notebook, run]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "notebooks")
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.splitlines()[-1] == "Exercise 3 is open: fill precision."


# In a process of its own: IPython puts a module of its own in the place of __main__.
RUN_ALL = """
import sys
import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
shell = InteractiveShell.instance()
for cell in nbformat.read(sys.argv[1], 4).cells:
    if cell.cell_type == "code":
        source = cell.source
        if "parameters" in cell.metadata.get("tags", []):
            source += f"\\nrun_dir = {sys.argv[2]!r}"
        with capture_output():
            result = shell.run_cell(source)
        result.raise_error()
print(repr(result.result))
"""


class TestTeacher:
    def test_has_every_solution_and_the_keys(self, kits):
        text = everything(kits / "teacher")
        for exercise in EXERCISES:
            code = [squeezed(t) for kind, t in parts_of(exercise.solution) if kind == "code"]
            assert all(one in text for one in code)
        assert len((kits / "teacher/paper/cells-key.csv").read_text().splitlines()) == 13
        assert not list((kits / "student").rglob("*key*"))
        key = (kits / "teacher/paper/contact-key.csv").read_text().splitlines()
        assert key[0] == "number,class,variant,told_by"
        assert len(key) == 41
        page = (kits / "teacher/paper/contact.html").read_text(encoding="utf-8")
        assert page.count("<tr") == 41

    def test_of_a_finished_run_has_its_outputs(self, tmp_path, monkeypatch, shown):
        from nbformat.v4 import new_output

        from hv_utils.classroom import kits as module

        made = [[new_output("stream", text=f"of {tmp_path / 'run'}")]] * 2
        monkeypatch.setattr(
            module, "execute_solutions", lambda every, run, echo: {("01_data", 1): made}
        )
        run = make_run(tmp_path / "run", ROOT)
        folder = write_course(tmp_path / "kits", sheets(), run=run, echo=lambda line: None)
        cells = nbformat.read(folder / "teacher/notebooks/01_data.ipynb", as_version=4).cells
        assert sum(bool(cell.get("outputs")) for cell in cells) > 3
        solution = next(c for c in cells if c.id == "exercise-1-solution-0")
        assert solution.outputs[0]["text"] == "of runs/run"
        decks = sorted(path.stem for path in (folder / "teacher" / "slides").glob("[0-9]*.html"))
        assert decks == sorted(p.stem for p in (folder / "teacher" / "handouts").glob("*.html"))
        assert not (folder / "student" / "slides").exists()
        student = nbformat.read(folder / "student/notebooks/01_data.ipynb", as_version=4).cells
        assert not any(cell.get("outputs") for cell in student)
        pages = [folder / kit / "versus.html" for kit in ("student", "teacher")]
        assert pages[0].read_bytes() == pages[1].read_bytes()
        assert leaks(folder / "student", shown) == set()
        text = pages[0].read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        truth = read_versus(pages[0]).truth
        assert len(truth) == 16
        assert ", ".join(f'"{name}"' for name in truth[:3]) not in text
        for kit, words in (("student", "hand the file in"), ("teacher", "--gather")):
            assert words in (folder / kit / "README.md").read_text(encoding="utf-8")

    def test_of_a_run_without_its_pictures_lacks_one_page_and_says_so(self, tmp_path, monkeypatch):
        from hv_utils.classroom import kits as module

        monkeypatch.setattr(module, "execute_solutions", lambda every, run, echo: {})
        run, said = make_run(tmp_path / "run", ROOT), []
        shutil.rmtree(run.path("photos"))
        folder = write_course(tmp_path / "kits", sheets(), run=run, echo=said.append)
        assert not list(folder.rglob("versus.html"))
        assert "without student/versus.html: expected the pictures" in "\n".join(said)
        assert "versus" not in (folder / "student" / "README.md").read_text(encoding="utf-8")


class TestRefusals:
    def test_a_folder_that_holds_something(self, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(HematoVisionError, match=r"mine\.txt lies in it.*nothing was written"):
            write_course(tmp_path, sheets())
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_a_run_that_is_not_finished_writes_nothing(self, tmp_path):
        run = make_run(tmp_path / "run", ROOT)
        run.path("notebooks/09_audit.ipynb").unlink()
        with pytest.raises(HematoVisionError, match="09_audit"):
            write_course(tmp_path / "kits", sheets(), run=run)
        assert not (tmp_path / "kits").exists()

    def test_a_solution_that_fails_is_named(self, tmp_path):
        from hv_utils.classroom.kits import execute_solutions

        run = Run.open(tmp_path / "run")
        with pytest.raises(HematoVisionError, match="that of exercise 2 of 03_model failed"):
            execute_solutions(read_exercises("03_model")[1:], run)

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("- number: 2", "- number: 3", "expected the exercises"),
            ("level: 1", "level: 4", "a level of 1 to 3"),
            ("minutes: 10", "duration: 10", "expected level, minutes"),
            ("hint: Count", "hint: a: Count", "text that holds a colon"),
        ],
    )
    def test_facts_that_do_not_fit(self, tmp_path, old, new, said):
        for name in ("book/exercises", "book/solutions", "notebooks"):
            shutil.copytree(ROOT / name, tmp_path / name)
        path = tmp_path / "book" / "exercises" / "01_data.yaml"
        path.write_text(path.read_text().replace(old, new, 1))
        with pytest.raises(HematoVisionError, match=said):
            read_exercises("01_data", project=tmp_path)

    def test_on_the_command_line(self, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        result = CliRunner().invoke(cli.hv, ["course", str(tmp_path)])
        assert isinstance(result.exception, HematoVisionError)
