"""The decks: what is shown in each lesson, as short pages in `book/slides`.

A deck is Markdown, a slide a heading of the second level. Below the heading stands which step of
the lesson's table the slide belongs to, `% step 5`: minutes and what to open come from there. The
notes of the speaker stand in a fence `:::{notes}`. Pictures are `figures/NAME.png` of a run, as in
the chapters; what a cell of a notebook shows comes by a fence `{shown} NOTEBOOK CELL`; numbers come
by `{glue:text}`; question, wrap-up, homework and objectives by their names in two braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hv_utils.classroom.lessons import Lesson, read_lesson
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import PROJECT_ROOT

FRONT = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
SLIDE = re.compile(r"(?ms)^## ([^\n]+)\n+% step (\d+)\n(.*?)(?=^## |\Z)")
NOTES = re.compile(r"(?ms)^:::\{notes\}\n(.*?)^:::\n?")


@dataclass(frozen=True)
class Slide:
    """A slide.

    Attributes
    ----------
    title : str
    step : int
        Row of the lesson's table, from 1.
    body, notes : str
        Markdown.
    """

    title: str
    step: int
    body: str
    notes: str


@dataclass(frozen=True)
class Deck:
    """The slides of a lesson, and what its handout holds besides what the lesson's page says.

    Attributes
    ----------
    lesson : Lesson
    handout : dict
        `terms`, `figure` and `table`, see `handouts`.
    slides : tuple of Slide
    """

    lesson: Lesson
    handout: Mapping[str, Any]
    slides: tuple[Slide, ...]


def read_deck(name: str, *, project: Path = PROJECT_ROOT) -> Deck:
    """Read the slides of a lesson.

    Parameters
    ----------
    name : str
        Stem of the lesson's page.
    project : Path
        Folder that holds `book/`.

    Raises
    ------
    HematoVisionError
        Where the lesson has none, or a slide lacks its step or its notes.
    """
    import yaml

    lesson = read_lesson(name, project=project)
    path = project / "book" / "slides" / f"{name}.md"
    if not path.is_file():
        raise HematoVisionError(f"expected the slides of {name} in {path}, which is not there")
    text = path.read_text(encoding="utf-8")
    front, slides = FRONT.match(text), []
    for title, step, body in SLIDE.findall(text):
        notes = NOTES.search(body)
        if not notes or not 1 <= int(step) <= len(lesson.steps):
            raise HematoVisionError(
                f"expected notes and a step of 1 to {len(lesson.steps)} below each heading of "
                f"{path}, but the slide {title!r} has {'no notes' if not notes else f'step {step}'}"
            )
        slides.append(Slide(title, int(step), NOTES.sub("", body).strip(), notes[1].strip()))
    if not front or len(slides) != len(re.findall(r"(?m)^## ", text)):
        raise HematoVisionError(
            f"expected facts between two lines --- and below each heading a line such as % step 1, "
            f"but {path} has not: see the other decks"
        )
    try:
        return Deck(lesson, yaml.safe_load(front[1]), tuple(slides))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise HematoVisionError(
            f"expected YAML at the head of {path}, but it cannot be read ({reason}): mend it; text "
            "that holds a colon stands in quotes"
        ) from error
