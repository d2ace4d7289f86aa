"""The minutes of a lesson: what reading and running take, beside what its page gives them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from hv_utils.classroom.lessons import LessonStep
from hv_utils.ground.runs import PROJECT_ROOT, REFERENCE_RESULTS

RECORD = REFERENCE_RESULTS / "lessons.json"  # by scripts/measure_lessons.py
CHAIN_RECORD = REFERENCE_RESULTS / "demo.json"  # by scripts/record_demo.py
WORDS_A_MINUTE = 180
START_S = 15.0  # to find the notebook, open it and choose *Run all*
AS_FAR_AS = re.compile(r"as far as \*([^*]+)\*")
ESTIMATE, READING, RUNNING = HOW = ("estimate", "reading", "running")


def words(name: str, *, until: str = "", project: Path = PROJECT_ROOT) -> int:
    """Count the words that are read of a page or a notebook.

    Parameters
    ----------
    name : str
        Stem of a page of the book, or of a notebook.
    until : str
        The heading at which one stops; empty for all.
    project : Path

    Returns
    -------
    int
    """
    page = project / "book" / f"{name}.md"
    if page.exists():
        text = page.read_text(encoding="utf-8")
    else:
        notebook = (project / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        cells = json.loads(notebook)["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    if until:
        before, found, _ = text.partition(f"# {until}\n")
        if not found:
            raise ValueError(f"{name} has no heading {until!r}")
        text = before
    return len(text.split())


def recorded_seconds() -> dict[str, float]:
    """Return what each notebook took: as a learner runs it, else as a step of the demo's chain."""
    chain = json.loads(CHAIN_RECORD.read_text(encoding="utf-8"))["seconds_by_notebook"]
    learners = json.loads(RECORD.read_text(encoding="utf-8"))["notebooks"]
    return chain | {name: about["seconds"] for name, about in learners.items()}


def needed_minutes(step: LessonStep, seconds: Mapping[str, float]) -> float:
    """Return what reading or running takes; 0 for an estimate.

    Parameters
    ----------
    step : LessonStep
    seconds : mapping
        Of each notebook, see `recorded_seconds`.

    Returns
    -------
    float
        Minutes.
    """
    if step.how == READING:
        stop = AS_FAR_AS.search(step.text)
        return words(*step.names, until=stop[1] if stop else "") / WORDS_A_MINUTE
    if step.how == RUNNING:
        return (START_S + sum(seconds[name] for name in step.names)) / 60
    return 0.0


def is_enough(step: LessonStep, seconds: Mapping[str, float]) -> bool:
    """Tell whether a step's minutes, which are whole, hold what it needs."""
    return math.ceil(needed_minutes(step, seconds)) <= step.minutes
