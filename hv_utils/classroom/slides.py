"""The slides of the lessons, with a finished run's figures, tables and numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hv_utils.chain.book_stage import FIGURE, NOT_DIAGNOSIS, clean_notebook, with_figures
from hv_utils.classroom.decks import Deck, read_deck
from hv_utils.classroom.lessons import Lesson, lesson_names, sentences
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.extras import load
from hv_utils.ground.files import files_below, write_text
from hv_utils.ground.runs import PROJECT_ROOT, Run, drawn_note

SLIDES = "sphinx_revealjs"  # an extra: not everybody teaches
SHOWN = re.compile(r"(?m)^```\{shown\} (\S+) (\S+) ?(\S*)\n```$")
GLUE = re.compile(r"\{glue:text\}`(?:\.\./)+notebooks/(\w+)\.ipynb::(\w+)(?::([^`]*))?`")
RECORD = "application/papermill.record/text/plain"
LEFT_BY_SPHINX = ("objects.inv", "genindex.html", "search.html", "searchindex.js", ".buildinfo")
# Of reveal.js: other themes would load fonts from another host.
NEEDED = ("dist/reveal.css", "dist/reveal.js", "dist/theme/white.css")
NEEDED += ("dist/theme/fonts", "plugin/notes/notes.js")
NOTHING = "*Nothing to show here: this run lacks what `{notebook}` makes it from.*"
SETTINGS = """
project = html_title = "HematoVision"
extensions = ["myst_parser", "sphinx_revealjs"]
html_copy_source = False
revealjs_style_theme = "white"
revealjs_static_path = ["_static"]
revealjs_css_files = ["slides.css"]
revealjs_js_files = ["slides.js"]
revealjs_script_plugins = [{"src": "revealjs/plugin/notes/notes.js", "name": "RevealNotes"}]
revealjs_script_conf = {
    "hash": True, "slideNumber": "c/t", "transition": "none", "width": 1280, "height": 720,
    "margin": 0.04, "center": False,
}
"""


def write_slides(
    folder: Path, run: Run, *, project: Path = PROJECT_ROOT, echo: Callable[[str], None] = print
) -> list[Path]:
    """Write the slides of every lesson as pages that open from disk.

    Parameters
    ----------
    folder : Path
        Is made; `index.html` in it lists the decks.
    run : Run
        A finished run, whose figures, tables and numbers the slides show.
    project : Path
        Folder that holds `book/` and `notebooks/`.
    echo : callable
        Takes lines about the progress.

    Returns
    -------
    list of Path
        A page for each lesson.

    Raises
    ------
    HematoVisionError
        Where the run lacks what is shown, a deck is not as it should be, or sphinx-revealjs is not
        installed.
    """
    load(SLIDES, extra="slides", wanted_for="slides")
    decks = [read_deck(name, project=project) for name in lesson_names(project)]
    shown = Exhibits(run, project)
    with tempfile.TemporaryDirectory() as made:
        source = Path(made)
        for deck in decks:
            write_text(source / f"{deck.lesson.name}.md", shown.fill(deck))
        write_text(source / "index.md", _index(decks))
        write_text(source / "conf.py", SETTINGS)
        (source / "figures").mkdir()
        for name in shown.figures:
            content = run.path(f"figures/{name}").read_bytes()
            (source / "figures" / name).write_bytes(content)
        shutil.copytree(project / "book" / "images", source / "images")
        (source / "_static").mkdir()
        for name in ("slides.css", "slides.js"):
            shutil.copy(project / "book" / "slides" / name, source / "_static" / name)
        echo(f"writing the slides of {len(decks)} lessons")
        _run_sphinx(source, folder)
    return [folder / f"{deck.lesson.name}.html" for deck in decks]


class Exhibits:
    """What a run shows on slides: its figures, the tables and the numbers of its notebooks."""

    def __init__(self, run: Run, project: Path = PROJECT_ROOT):
        self.run, self.project = run, project
        self.figures: set[str] = set()
        self._cells: dict[str, list[dict]] = {}

    def fill(self, deck: Deck) -> str:
        """Return a deck as MyST for sphinx-revealjs, with all that it takes from elsewhere.

        Raises
        ------
        HematoVisionError
            Where a figure, a cell or a number is not in the run.
        """
        from markdown_it import MarkdownIt

        lesson, page = deck.lesson, f"book/slides/{deck.lesson.name}.md"
        note = drawn_note(self.run.read_table("images.csv", made_by="01_data")).data
        head = f"---\norphan: true\n---\n\n# {lesson.title}\n\nHematoVision. {NOT_DIAGNOSIS}"
        parts = [head, note]
        given = {
            "question": f"> {lesson.question}",
            "homework": lesson.homework,
            "wrap_up": _listed(sentences(lesson.wrap_up)),
            "objectives": _listed(lesson.objectives),
        }
        for slide in deck.slides:
            body = slide.body
            for name, text in given.items():
                body = body.replace(f"{{{{ {name} }}}}", text)
            body = SHOWN.sub(lambda found: self.output(*found.groups()), body)
            notes = f"{_about(lesson, slide.step)}\n\n{slide.notes}"
            html = MarkdownIt().render(self._numbers(notes))
            aside = f'```{{raw}} html\n<aside class="notes">\n{html}</aside>\n```'
            parts.append(f"## {slide.title}\n\n{self._numbers(body)}\n\n{aside}")
        text = "\n\n".join(parts) + "\n"
        there = {f"book/figures/{path.name}": b"" for path in self.run.path("figures").glob("*")}
        text = with_figures(page, text, files=there, run=self.run, project=self.project)
        self.figures |= set(FIGURE.findall(text))
        return text

    def output(self, notebook: str, name: str, style: str = "") -> str:
        """Return the tables and the text that a cell shows, as MyST.

        Parameters
        ----------
        notebook : str
            Its stem.
        name : str
            Of the cell, its `id`.
        style : str
            How a table is shown: `wide`, `small` or its `first-column` alone.
        """
        for cell in self._read(notebook):
            if cell.get("id") == name:
                found = [_shown(output, style) for output in cell.get("outputs", [])]
                return "\n\n".join(filter(None, found)) or NOTHING.format(notebook=notebook)
        raise HematoVisionError(
            f"expected a cell {name} in notebook {notebook}, which a slide shows, but there is "
            "none: mend the slide"
        )

    def _numbers(self, text: str) -> str:
        return GLUE.sub(lambda found: self.number(found[1], found[2], found[3] or ""), text)

    def number(self, notebook: str, name: str, spec: str) -> str:
        """Return a number that a notebook has glued, formatted; words stay words."""
        for output in (o for cell in self._read(notebook) for o in cell.get("outputs", [])):
            about = output.get("metadata", {}).get("scrapbook", {})
            if about.get("name") == name and RECORD in output["data"]:
                value = "".join(output["data"][RECORD])
                return value.strip("'\"") if value[:1] in "'\"" else format(float(value), spec)
        raise HematoVisionError(
            f"expected notebook {notebook} to glue {name}, which a slide quotes, but in "
            f"{self.run.folder} it has not: run it again with `hv run --from {notebook}`"
        )

    def _read(self, notebook: str) -> list[dict]:
        if notebook not in self._cells:
            text = clean_notebook(self.run, notebook, project=self.project)
            self._cells[notebook] = json.loads(text)["cells"]
        return self._cells[notebook]


def _shown(output: Mapping[str, Any], style: str) -> str:
    data = output.get("data", {})
    if "text/html" not in data:
        return "".join(data.get("text/markdown", ""))
    lines = [line for line in "".join(data["text/html"]).splitlines() if line.strip()]
    html = "\n".join([f'<div class="hv-shown {style}">', *lines, "</div>"])
    return f"```{{raw}} html\n{html}\n```"


def _about(lesson: Lesson, number: int) -> str:
    step = lesson.steps[number - 1]
    needs = "" if step.needs == "nothing" else f" Open: {step.needs}."
    return (
        f"**Step {number}, {step.minutes} minutes**, from minute {step.begins}. {step.text}{needs}"
    )


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _index(decks: Sequence[Deck]) -> str:
    links = _listed([f"[{deck.lesson.title}]({deck.lesson.name}.md)" for deck in decks])
    return f"# Slides\n\n{links}\n\nThe key S opens the notes. {NOT_DIAGNOSIS}\n"


def _run_sphinx(source: Path, folder: Path) -> None:
    """Build the slides, with warnings as errors."""
    command = [sys.executable, "-m", "sphinx", "-b", "revealjs", "-q", "-W", "--keep-going"]
    command += ["-d", str(source / "_doctrees"), str(source), str(folder)]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = "; ".join(done.stderr.replace(f"{source}{os.sep}", "").strip().splitlines()[:8])
        raise HematoVisionError(
            f"expected the slides to build without a warning, but Sphinx gave: {said}: mend these "
            "pages in book/slides"
        )
    for left in LEFT_BY_SPHINX:
        (folder / left).unlink(missing_ok=True)
    engine = folder / "_static" / "revealjs"
    for path in files_below(engine):
        if not path.relative_to(engine).as_posix().startswith(NEEDED):
            path.unlink()
