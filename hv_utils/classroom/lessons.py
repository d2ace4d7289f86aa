"""The lessons: their pages' parts and steps, and the terms of the glossary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import PROJECT_ROOT

TITLE = re.compile(r"(?m)^# (.+)$")
OBJECTIVES = re.compile(r"(?ms)^:class: learn\n+(.*?)^```")
QUESTION = re.compile(r"(?m)^\*\*The question to begin with\.\*\* (.+)$")
STEP = re.compile(r"(?m)^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$")
SECTION = r"(?ms)^## {}\n(.*?)(?=^## |\Z)"
LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s]*)\)")
ROLE = re.compile(r"\{\w+(?::\w+)?\}`([^`<]+?)(?:\s*<[^>]*>)?`")
TERM = re.compile(r"(?m)^(\S.*)\n  (\S.*)$")


@dataclass(frozen=True)
class LessonStep:
    """A row of a lesson's table of minutes.

    Attributes
    ----------
    minutes : int
    begins : int
        Minutes of the lesson that have passed before.
    text : str
        What is done.
    needs : str
        What is open meanwhile; `nothing`, or a page's or a notebook's name.
    how : str
        How the minutes are known: `estimate`, `reading` or `running`.
    names : tuple of str
        Of the pages or notebooks that are read or run.
    """

    minutes: int
    begins: int
    text: str
    needs: str
    how: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Lesson:
    """A lesson as its page in `book/lessons` has it, in plain Markdown without links.

    Attributes
    ----------
    name : str
        Stem of the page, such as `2-leak`.
    title, question, wrap_up, homework : str
    objectives : tuple of str
    steps : tuple of LessonStep
    """

    name: str
    title: str
    question: str
    objectives: tuple[str, ...]
    steps: tuple[LessonStep, ...]
    wrap_up: str
    homework: str


def lesson_names(project: Path = PROJECT_ROOT) -> list[str]:
    """Return the stems of the lessons' pages, in their order."""
    return sorted(path.stem for path in (project / "book" / "lessons").glob("*.md"))


def read_lesson(name: str, *, project: Path = PROJECT_ROOT) -> Lesson:
    """Read the page of a lesson.

    Parameters
    ----------
    name : str
        Its stem.
    project : Path
        Folder that holds `book/`.

    Raises
    ------
    HematoVisionError
        Where there is no such lesson, or its page lacks a part.
    """
    path = project / "book" / "lessons" / f"{name}.md"
    if not path.is_file():
        raise HematoVisionError(
            f"expected one of the lessons {', '.join(lesson_names(project))}, but got {name}: "
            "name one of these"
        )
    text = path.read_text(encoding="utf-8")

    def part(name: str, pattern: str | re.Pattern) -> str:
        if not (found := re.search(pattern, text)):
            raise HematoVisionError(
                f"expected all parts of a lesson in {path}, but {name} is missing: see the others"
            )
        return plain(found[1].strip())

    steps, begins = [], 0
    for minutes, what, needs, known in STEP.findall(text):
        how, *names = known.split()
        words = plain(what.strip()), plain(needs.strip())
        steps.append(LessonStep(int(minutes), begins, *words, how, tuple(names)))
        begins += int(minutes)
    return Lesson(
        name=name,
        title=part("the title", TITLE),
        question=part("the question", QUESTION),
        objectives=tuple(re.findall(r"(?m)^- (.+)$", part("what is learnt", OBJECTIVES))),
        steps=tuple(steps),
        wrap_up=part("the wrap-up", SECTION.format("Wrap-up")),
        homework=part("the homework", SECTION.format("Homework")),
    )


def plain(text: str) -> str:
    """Return Markdown without links and roles; a link without a text becomes its target's name."""
    named = LINK.sub(lambda found: found[1] or f"*{Path(found[2]).stem}*", text)
    return ROLE.sub(r"\1", named)


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph."""
    return re.split(r"(?<=[.?!])\s+", text.strip())


def definitions(project: Path = PROJECT_ROOT) -> dict[str, str]:
    """Return the terms of the glossary and what they mean, in plain Markdown."""
    text = (project / "book" / "glossary.md").read_text(encoding="utf-8")
    return {term: plain(meaning) for term, meaning in TERM.findall(text)}
