"""The exercises: their text, what a class is given with it, and their solutions.

The text stands in the notebook, or in `book/exercises/paper.md`; stub, hint, level and minutes in
`book/exercises/<page>.yaml`; the solution in `book/solutions/<page>.md`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from hv_utils.chain.book_stage import SOLUTION_LINK
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import PROJECT_ROOT

PAPER = "paper"
HEADING = "## Exercises"
TASK = re.compile(r"(?ms)^````\{admonition\} Exercise (\d+): ([^\n]+)\n(.*?)^````\n?")
SOLUTION = re.compile(r"(?ms)^## Exercise (\d+): [^\n]+\n(.*?)(?=^## |\Z)")
LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class Exercise:
    """An exercise with all that belongs to it.

    Attributes
    ----------
    page : str
        Stem of its notebook, or `paper`.
    number : int
    title, text : str
        As the page has them, Markdown, without the link to the solution.
    solution : str
        Markdown with blocks of Python.
    level : int
        1, 2 or 3.
    minutes : int
        That a class needs.
    hint : str
    stub : str
        Python that gives each name of the answer the value `...`; empty where nothing is checked.
    unchecked : str
        Why nothing is, else empty.
    mistakes : tuple of str
        Python that turns the solution's names into a typical wrong answer.
    """

    page: str
    number: int
    title: str
    text: str
    solution: str
    level: int
    minutes: int
    hint: str
    stub: str = ""
    unchecked: str = ""
    mistakes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names that the answer fills."""
        nodes = [node for node in ast.parse(self.stub).body if isinstance(node, ast.Assign)]
        return [target.id for node in nodes for target in node.targets]

    @property
    def check(self) -> str:
        """Python that says whether the answer is right; empty where nothing is checked."""
        if not self.names:
            return ""
        run = [] if self.page == PAPER else ["run"]
        given = [f'"{self.page}"', str(self.number), *run, *(f"{n}={n}" for n in self.names)]
        return f"from hv_utils.studies.exercise_checks import check\n\ncheck({', '.join(given)})"


def pages_with_exercises(project: Path = PROJECT_ROOT) -> list[str]:
    """Return the pages that have exercises, in the order of the notebooks, `paper` last."""
    return sorted(path.stem for path in (project / "book" / "exercises").glob("*.yaml"))


def read_exercises(page: str, *, project: Path = PROJECT_ROOT) -> list[Exercise]:
    """Read the exercises of a page.

    Parameters
    ----------
    page : str
        Stem of a notebook, or `paper`.
    project : Path
        Folder that holds `book/` and `notebooks/`.

    Returns
    -------
    list of Exercise
        In the order of the page.

    Raises
    ------
    HematoVisionError
        Where text, facts and solutions are not of the same exercises, or facts are missing.
    """
    import yaml

    book = project / "book"
    facts_file, solutions_file = (
        book / "exercises" / f"{page}.yaml",
        book / "solutions" / f"{page}.md",
    )
    try:
        entries = yaml.safe_load(facts_file.read_text(encoding="utf-8"))
        facts = {one["number"]: one for one in entries}
    except (yaml.YAMLError, TypeError, KeyError) as error:
        reason = str(error).replace("\n", " ")
        raise HematoVisionError(
            f"expected a list of exercises in {facts_file}, each with a number, but it cannot be "
            f"read so ({reason}): mend it; text that holds a colon stands in quotes"
        ) from error
    solutions = {
        int(number): text.strip()
        for number, text in SOLUTION.findall(solutions_file.read_text(encoding="utf-8"))
    }
    tasks = TASK.findall(_page_text(page, project))
    numbers = [int(number) for number, _, _ in tasks]
    for where, found in ((facts_file, facts), (solutions_file, solutions)):
        if sorted(found) != sorted(numbers):
            raise HematoVisionError(
                f"expected the exercises {numbers} of {page} in {where.relative_to(project)}, but "
                f"there are {sorted(found)}: an exercise has its text on the page, its facts and "
                "its solution under the same number"
            )
    return [
        _exercise(page, int(number), title, text, solutions[int(number)], facts[int(number)])
        for number, title, text in tasks
    ]


def _exercise(
    page: str, number: int, title: str, text: str, solution: str, facts: dict
) -> Exercise:
    try:
        made = Exercise(
            page=page,
            title=title.strip(),
            text=SOLUTION_LINK.sub("", text).strip(),
            solution=solution,
            **{**facts, "mistakes": tuple(facts.get("mistakes", ()))},
        )
    except TypeError as error:
        raise HematoVisionError(
            f"expected level, minutes, hint and stub or unchecked of exercise {number} in "
            f"book/exercises/{page}.yaml, but got {', '.join(facts)} ({error}): mend the entry"
        ) from error
    if made.level not in LEVELS or bool(made.stub) == bool(made.unchecked):
        raise HematoVisionError(
            f"expected a level of 1 to 3 and either a stub or a reason why nothing is checked, but "
            f"exercise {number} in book/exercises/{page}.yaml has not: mend the entry"
        )
    return made


def _page_text(page: str, project: Path) -> str:
    if page == PAPER:
        return (project / "book" / "exercises" / "paper.md").read_text(encoding="utf-8")
    notebook = nbformat.read(project / "notebooks" / f"{page}.ipynb", as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def parts_of(solution: str) -> list[tuple[str, str]]:
    """Return the parts of a solution in order, each `code` or `markdown` with its text."""
    found: Sequence[str] = re.split(r"(?ms)^```python\n(.*?)^```\n?", solution)
    kinds = (("markdown", "code")[at % 2] for at in range(len(found)))
    return [(kind, text.strip()) for kind, text in zip(kinds, found, strict=True) if text.strip()]
