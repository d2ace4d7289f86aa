"""Sphinx extension of the book: the directive `quiz`, questions with the reason for each answer.

The questions lie in `book/quizzes/NAME.yaml`, in the format of moodle-tools, in which the first
answer is the right one. A page shows them twice, as the pieces do: as a list whose answers unfold,
for readers without scripts and for print, and as data for `_static/quiz.js`. From the same file
moodle-tools writes the questions for a learning platform, beside the page.
"""

from __future__ import annotations

import json
import posixpath
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

FOLDER = "book/quizzes"
DOWNLOADS = "quizzes"  # below the built book
SCRIPT = "quiz.js"


class Question(NamedTuple):
    """A question, its answers in alphabetical order, the place of the right one, and the reason."""

    question: str
    answers: list[str]
    right: int
    reason: str


class quiz(nodes.General, nodes.Element):
    """A quiz in a page."""


def read_quiz(path: Path) -> list[Question]:
    """Return the questions of a file.

    Raises
    ------
    ValueError
        Where a question lacks a part, or has the same answer twice.
    """
    questions = []
    for about in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        parts = [about.get(key) for key in ("title", "question", "answers", "general_feedback")]
        if not all(parts) or about.get("type") != "multiple_choice":
            raise ValueError(f"{path.name}: expected title, question, answers and reason: {about}")
        _, question, answers, reason = parts
        if len({*answers}) != len(answers) or len(answers) < 3:
            raise ValueError(f"{path.name}: expected three answers or more, all different: {about}")
        ordered = sorted(answers)
        questions.append(Question(question, ordered, ordered.index(answers[0]), reason.strip()))
    return questions


def moodle_xml(path: Path) -> str:
    """Return the questions of a file in Moodle's XML format."""
    from loguru import logger
    from moodle_tools.make_questions import generate_moodle_questions

    logger.disable("moodle_tools")
    return generate_moodle_questions(paths=iter([path]), skip_validation=True)


class Quiz(SphinxDirective):
    """The directive `quiz`: its argument is the name of a file of questions."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read the questions."""
        name = self.arguments[0]
        file = f"{FOLDER}/{name}.yaml"
        path = Path(self.env.srcdir) / file
        if not path.is_file():
            raise self.error(f"expected questions in {file}, which is not there")
        self.env.note_dependency(file)
        try:
            questions = read_quiz(path)
        except ValueError as error:
            raise self.error(str(error)) from error
        download = f"{DOWNLOADS}/{name}.xml"
        to = posixpath.relpath(download, posixpath.dirname(self.env.docname) or ".")
        return [quiz("", name=name, questions=questions, download=to)]


def visit_quiz(translator: HTML5Translator, node: quiz) -> None:
    """Write the list that shows without a script, and what the script needs."""
    items = "".join(_item(one) for one in node["questions"])
    data = json.dumps([one._asdict() for one in node["questions"]]).replace("</", "<\\/")
    translator.body.append(
        f'<div class="hv-quiz" data-quiz="{node["name"]}"><ol class="hv-static">{items}</ol>'
        f'<script type="application/json">{data}</script>'
        f'<p class="hv-download"><a href="{node["download"]}" download>These questions for '
        "Moodle</a> (XML)</p></div>"
    )
    raise nodes.SkipNode


def _item(one: Question) -> str:
    answers = "".join(f"<li>{escape(answer)}</li>" for answer in one.answers)
    right = escape(one.answers[one.right])
    return (
        f"<li><p>{escape(one.question)}</p><ul>{answers}</ul><details><summary>Answer</summary>"
        f"<p><strong>{right}.</strong> {escape(one.reason)}</p></details></li>"
    )


def load_script(app: Sphinx, pagename: str, template: str, context: Any, doctree: Any) -> None:
    """Load the script on the pages that hold a quiz, and on no other."""
    if doctree and next(iter(doctree.findall(quiz)), None):
        app.add_js_file(SCRIPT, loading_method="defer")


def write_downloads(app: Sphinx, error: Exception | None) -> None:
    """Write the questions for learning platforms into the finished book."""
    if error or app.builder.format != "html":
        return
    for path in sorted((Path(app.srcdir) / FOLDER).glob("*.yaml")):
        target = Path(app.outdir) / DOWNLOADS / f"{path.stem}.xml"
        target.parent.mkdir(exist_ok=True)
        target.write_text(moodle_xml(path), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_node(quiz, html=(visit_quiz, None))
    app.add_directive("quiz", Quiz)
    app.connect("html-page-context", load_script)
    app.connect("build-finished", write_downloads)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
