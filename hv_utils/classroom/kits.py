"""The kits of a course: the notebooks for a class without a solution, for its teacher with all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from hv_utils.chain.book_stage import NOT_DIAGNOSIS, SOLUTION_LINK, clean_notebook, without_places
from hv_utils.chain.kernel import START_S, OwnKernel
from hv_utils.classroom.exercises import (
    HEADING,
    PAPER,
    TASK,
    Exercise,
    pages_with_exercises,
    parts_of,
    read_exercises,
)
from hv_utils.classroom.handouts import write_handouts
from hv_utils.classroom.slides import SLIDES, write_slides
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.extras import load
from hv_utils.ground.files import need_room, new_folder, write_text
from hv_utils.ground.runs import PROJECT_ROOT, Run
from hv_utils.serve.held_out import from_run
from hv_utils.serve.versus import write_versus

LEARNT = re.compile(r"(?ms)^## What we learnt\b.*?(?=^## |\Z)")
BOOK_LINK = re.compile(r"\[([^\]\n]*)\]\(\.\./book/[^)\s]*\)")
CITED = re.compile(r"\s?\{cite(?::\w)?\}`([^`]+)`")
ROLE = re.compile(r"\{\w+(?::\w)?\}`([^`<]+?)(?:\s*<[^>]*>)?`")
BOX = re.compile(r"(?ms)^(`{3,})\{[\w-]+\} ?([^\n]*)\n(?::[^\n]*\n)*(.*?)^\1[ ]*$")
PICTURE = re.compile(r"(!\[[^\]]*\]\()(\w+\.png\))")
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Exercises on paper</title>
<style>
body {{ font: 1rem/1.5 sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ break-before: page; }} h2:first-of-type {{ break-before: auto; }}
img {{ max-width: 100%; }} table {{ border-collapse: collapse; }}
td, th {{ border: 1px solid #999; padding: .2rem .7rem; }}
blockquote {{ border-left: .2rem solid #999; margin-left: 0; padding-left: 1rem; }}
</style>
{body}
<p>{foot}</p></html>
"""
SHEET = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Cells to name</title>
<style>
@page {{ size: A4; margin: 0; }}
body {{ font: 10pt/1.25 sans-serif; margin: 0 auto; width: 210mm; color: #000; background: #fff; }}
img {{ width: 100%; display: block; }}
table {{ border-collapse: collapse; margin: 10mm; break-before: page; }}
td, th {{ border: 1px solid #999; padding: 0 .5rem; text-align: left; }}
</style>
<img src="contact.png" alt="Forty drawn white cells, numbered, each with a line to write on.">
{key}</html>
"""
CONTACT = "contact"  # of the sheets the one that is a page by itself
Outputs = Mapping[tuple[str, int], Sequence[Sequence[Any]]]


def write_course(
    folder: str | Path,
    sheets: Mapping[str, Any],
    *,
    run: Run | None = None,
    project: Path = PROJECT_ROOT,
    complete: Callable[[Path], None] = lambda kits: None,
    echo: Callable[[str], None] = print,
) -> Path:
    """Write `student` and `teacher` into a folder, both from the same notebooks and pages.

    Parameters
    ----------
    folder : str or Path
        New or empty.
    sheets : mapping of str to drawn.paper.Sheet
        The pictures of the exercises on paper by their names, and their keys.
    run : Run, optional
        Finished: the teacher's notebooks then hold its outputs, and the solutions are executed.
    project : Path
        Folder that holds `book/` and `notebooks/`.
    complete : callable
        Takes the folder with both kits before it gets its name, and may add to it.
    echo : callable
        Takes lines about the progress.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    HematoVisionError
        Where the folder holds something, or the run is not finished.
    """
    need_room(folder)  # before the solutions are executed
    exercises = {
        page: read_exercises(page, project=project) for page in pages_with_exercises(project)
    }
    names = sorted(path.stem for path in (project / "notebooks").glob("*.ipynb"))
    plain = {name: _source(project / "notebooks" / f"{name}.ipynb") for name in names}
    shown, outputs = plain, {}
    if run:
        shown = {
            name: nbformat.reads(clean_notebook(run, name, project=project), as_version=4)
            for name in names
        }
        echo(f"executing {sum(map(len, exercises.values()))} solutions on {run.folder}")
        outputs = execute_solutions(
            [one for found in exercises.values() for one in found], run, echo
        )
    with new_folder(folder) as temporary:
        for name, notebooks, teacher in (("student", plain, False), ("teacher", shown, True)):
            kit = temporary / name
            written = {
                page: kit_notebook(page, notebooks.get(page), found, teacher, outputs)
                for page, found in ({n: [] for n in names} | exercises).items()
            }
            for page, notebook in written.items():
                text = nbformat.writes(notebook) + "\n"
                if run and teacher:
                    text = without_places(text, {}, run, project)
                write_text(kit / "notebooks" / f"{page}.ipynb", text)
            _write_paper(kit / "paper", exercises[PAPER], sheets, teacher)
            write_handouts(kit / "handouts", sheets, project=project)
            if run and teacher:
                _write_slides(kit / "slides", run, project, echo)
            versus = run is not None and _write_versus(kit / "versus.html", run, echo)
            write_text(kit / "README.md", _read_me(exercises, teacher, bool(run), versus))
        complete(temporary)
    return Path(folder).expanduser()


def _source(path: Path) -> Any:
    """Return a notebook as it is committed: no output, and of the metadata the tags alone."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata = {name: cell.metadata[name] for name in ("tags",) if name in cell.metadata}
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def kit_notebook(
    page: str,
    notebook: Any,
    exercises: Sequence[Exercise],
    teacher: bool,
    outputs: Outputs,
) -> Any:
    """Return a notebook of a kit.

    Parameters
    ----------
    page : str
        Its stem; `paper` has no notebook and is made anew.
    notebook : NotebookNode or None
        Its source, or as a run has executed it.
    exercises : sequence of Exercise
        Of this page.
    teacher : bool
        With the solutions, and with what is learnt.
    outputs : mapping
        Of the cells of each solution, see `execute_solutions`.

    Returns
    -------
    NotebookNode
    """
    cells = []
    # Last, since a stub gives its names the value `...`, and cells behind it may use these names.
    tasks = [new_markdown_cell(HEADING, id="exercises")] if exercises else []
    for exercise in exercises:
        tasks += _exercise_cells(exercise, teacher, outputs)
    if notebook is None:
        head = f"# Exercises on paper\n\nThe sheets lie in `paper/paper.html`. {NOT_DIAGNOSIS}"
        notebook = new_notebook(cells=[new_markdown_cell(head, id="head")])
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            cells.append(cell)
            continue
        text = BOOK_LINK.sub(
            lambda found: found[1] or "the book", SOLUTION_LINK.sub("", cell.source)
        )
        text = text if teacher else LEARNT.sub("", text)
        text = TASK.sub("", text.replace(f"{HEADING}\n", "")).strip()
        if text:
            cells.append(nbformat.from_dict({**cell, "source": _plain(text)}))
    made = new_notebook(cells=cells + tasks, metadata=notebook.metadata)
    made.metadata.setdefault(
        "kernelspec", {"name": "python3", "display_name": "Python 3", "language": "python"}
    )
    return made


def _exercise_cells(exercise: Exercise, teacher: bool, outputs: Outputs) -> list[Any]:
    name = f"exercise-{exercise.number}"
    cells = [new_markdown_cell(_task(exercise), id=name)]
    if exercise.stub:
        cells.append(new_code_cell(exercise.stub.strip(), id=f"{name}-answer"))
        cells.append(new_code_cell(exercise.check, id=f"{name}-check"))
    else:
        cells.append(new_code_cell("# Your answer\n", id=f"{name}-answer"))
    if teacher:
        cells.append(new_markdown_cell("**Solution**", id=f"{name}-solution"))
        cells += _solution_cells(exercise, outputs.get((exercise.page, exercise.number), ()))
    return cells


def _solution_cells(exercise: Exercise, outputs: Sequence[Sequence[Any]] = ()) -> list[Any]:
    """Return the cells of a solution, those of code followed by the check where there is one."""
    parts = parts_of(exercise.solution)
    if exercise.check:
        last = max(at for at, (kind, _) in enumerate(parts) if kind == "code")
        parts.insert(last + 1, ("code", exercise.check))
    cells, left = [], list(outputs)
    for at, (kind, text) in enumerate(parts):
        about = {"id": f"exercise-{exercise.number}-solution-{at}"}
        if kind == "markdown":
            cells.append(new_markdown_cell(_plain(text), **about))
        else:
            cells.append(new_code_cell(text, outputs=left.pop(0) if left else [], **about))
    return cells


def _task(exercise: Exercise) -> str:
    told = f"*Level {exercise.level} of 3, about {exercise.minutes} minutes.*"
    talk = f"*No automatic check.* {exercise.unchecked}" if exercise.unchecked else ""
    hint = f"<details><summary>Hint</summary>\n\n{exercise.hint}\n\n</details>"
    text = PICTURE.sub(r"\1../paper/\2", _plain(exercise.text))
    parts = (f"### Exercise {exercise.number}: {exercise.title}", told, text, hint, talk)
    return "\n\n".join(part for part in parts if part)


def _plain(text: str) -> str:
    """Return Markdown without the book's own marks, which a notebook shows as they are."""
    text = CITED.sub(lambda found: f" ({found[1].replace(',', ', ')})", text)
    return ROLE.sub(r"\1", BOX.sub(_quote, text))


def _quote(box: re.Match) -> str:
    title = f"**{box[2]}**\n\n" if box[2] else ""
    return "\n".join(f"> {line}".rstrip() for line in f"{title}{box[3].strip()}".splitlines())


def execute_solutions(
    exercises: Sequence[Exercise], run: Run, echo: Callable[[str], None] = print
) -> dict[tuple[str, int], list[list[Any]]]:
    """Execute solutions in one kernel.

    Returns
    -------
    dict
        By page and number the outputs of each cell of code, in order.

    Raises
    ------
    HematoVisionError
        Where one fails.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    opening = f"from hv_utils.ground.runs import Run\n\nrun = Run.open({str(run.folder)!r})"
    owners, cells = [None], [new_code_cell(opening)]
    for exercise in exercises:
        own = [cell for cell in _solution_cells(exercise) if cell.cell_type == "code"]
        owners += [exercise] * len(own)
        cells += own
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    client = NotebookClient(
        new_notebook(cells=cells),
        timeout=None,
        startup_timeout=START_S,
        extra_arguments=["--log-level=CRITICAL"],
        kernel_manager_class=OwnKernel,
        resources={"metadata": {"path": str(PROJECT_ROOT / "notebooks")}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        failed = owners[client.code_cells_executed - 1] if client.code_cells_executed else None
        where = f"exercise {failed.number} of {failed.page}" if failed else "the first cell"
        raise HematoVisionError(
            f"expected each solution to run on {run.folder}, but that of {where} failed with "
            f"{error.ename}: {error.evalue}: finish the run with `hv run`, or leave --run out"
        ) from error
    found: dict[tuple[str, int], list[list[Any]]] = {}
    for owner, cell in zip(owners, cells, strict=True):
        if owner:
            found.setdefault((owner.page, owner.number), []).append(cell.outputs)
            if "is not right yet" in json.dumps(cell.outputs):
                echo(f"exercise {owner.number} of {owner.page}: the check refuses it on this run")
    return found


def _write_paper(
    folder: Path, exercises: Sequence[Exercise], sheets: Mapping[str, Any], teacher: bool
) -> None:
    """Write the exercises on paper as a page to print, their pictures, and the keys."""
    from markdown_it import MarkdownIt

    parts = ["# Exercises on paper\n\nName: ______________________________"]
    for one in exercises:
        about = f"*Level {one.level} of 3, about {one.minutes} minutes.*"
        parts.append(f"## Exercise {one.number}: {one.title}\n\n{about}\n\n{_plain(one.text)}")
    body = MarkdownIt().enable("table").render("\n\n".join(parts))
    write_text(folder / "paper.html", PAGE.format(body=body, foot=NOT_DIAGNOSIS))
    for name, sheet in sheets.items():
        (folder / f"{name}.png").write_bytes(sheet.png)
        if teacher:
            write_text(folder / f"{name}-key.csv", sheet.key.to_csv(index=False))
        if name == CONTACT:
            key = sheet.key.to_html(index=False, border=0) if teacher else ""
            write_text(folder / f"{name}.html", SHEET.format(key=key))


def _write_slides(
    folder: Path, run: Run, project: Path, echo: Callable[[str], None] = print
) -> None:
    """Write the slides; a course can do without them."""
    try:
        load(SLIDES, extra="slides", wanted_for="slides")
    except HematoVisionError as error:
        echo(f"the teacher's kit is without slides: {error}")
        return
    write_slides(folder, run, project=project, echo=echo)


def _write_versus(page: Path, run: Run, echo: Callable[[str], None]) -> bool:
    """Write the page on which cells are named under time; a course can do without it."""
    try:
        write_versus(page, from_run(run))
    except HematoVisionError as error:
        echo(f"without {page.parent.name}/{page.name}: {error}")
        return False
    return True


def _read_me(
    exercises: Mapping[str, Sequence[Exercise]], teacher: bool, executed: bool, versus: bool
) -> str:
    every = [one for found in exercises.values() for one in found]
    checked = sum(bool(one.stub) for one in every)
    lines = [
        f"# HematoVision: {'the teacher' if teacher else 'a learner'}'s kit",
        "The notebooks work on the run folder `runs/demo` of an installed HematoVision: open them "
        "in JupyterLab from there, in the order of their numbers. `paper/paper.html` is to be "
        "printed, and so are `paper/contact.html`, forty cells to name on one sheet of A4, and the "
        "handouts, one page a lesson, in `handouts`.",
        f"There are {len(every)} exercises, {checked} of them with an automatic check. A check "
        "computes from the run's files what is right, or compares seals, and says why an answer "
        "is not right yet.",
    ]
    if versus:
        lines.append(
            "`versus.html`, opened in a browser, asks for the names of cells under time, and tells "
            "at the end who was right, you or the model. "
            + (
                "What the class has saved is gathered with `hv versus versus.html --gather "
                "answers/*.json --out class.csv`."
                if teacher
                else "Save your answers there, and hand the file in: it bears no name."
            )
        )
    if teacher:
        shown = (
            "from a finished run" if executed else "without outputs; `--run` adds those of a run"
        )
        lines.append(
            f"The notebooks are {shown}. Solutions stand below their exercises, and the keys of "
            "the drawn sheets in `paper`. Hand out the other kit: it holds no solution. The "
            "package itself can draw and compute what is right; who searches there, finds it. "
            "In `versus.html`, which is the same in both, the names lie behind a curtain, not a "
            "lock."
        )
        lines.append(
            "With `--run` there are slides, too: open `slides/index.html` in a browser. The key S "
            "opens the notes; `1-cells.html?notes` is for printing them."
        )
    else:
        lines.append("No result is shown beforehand: place your bets before you run a cell.")
    rows = ["| page | exercise | level | minutes | check |", "| --- | --- | --- | --- | --- |"]
    rows += [
        f"| {one.page} | {one.number} {one.title} | {one.level} | {one.minutes} | "
        f"{'yes' if one.stub else 'no'} |"
        for one in every
    ]
    return "\n\n".join([*lines, "\n".join(rows), NOT_DIAGNOSIS]) + "\n"
