"""What stands on the screen and lies on the tables of a lesson: slides and handouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hv_utils.chain.printer import browser, print_page
from hv_utils.classroom.handouts import write_handouts
from hv_utils.classroom.slides import write_slides
from hv_utils.ground.files import new_folder
from hv_utils.ground.runs import PROJECT_ROOT, Run


def write_teaching(
    folder: str | Path,
    run: Run,
    sheets: Mapping[str, Any],
    *,
    pdf: bool = False,
    project: Path = PROJECT_ROOT,
    echo: Callable[[str], None] = print,
) -> Path:
    """Write `slides` and `handouts` into a folder, whole or not at all.

    Parameters
    ----------
    folder : str or Path
        New or empty.
    run : Run
        A finished run, which the slides show. The handouts show none.
    sheets : mapping of str to drawn.paper.Sheet
        Pictures of the handouts.
    pdf : bool
        Print all, too: the slides, the slides with their notes, and the handouts.
    project : Path
        Folder that holds `book/` and `notebooks/`.
    echo : callable
        Takes lines about the progress.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    HematoVisionError
        Where the folder holds something, the run lacks what is shown, or nothing is installed that
        makes slides or prints.
    """
    program = browser() if pdf else ""
    with new_folder(folder) as made:
        decks = write_slides(made / "slides", run, project=project, echo=echo)
        pages = write_handouts(made / "handouts", sheets, project=project)
        if program:
            echo(f"printing {2 * len(decks) + len(pages)} files")
            for deck in decks:
                print_page(deck, deck.with_suffix(".pdf"), program=program)
                notes = deck.with_name(f"{deck.stem}-notes.pdf")
                print_page(deck, notes, program=program, notes="")
            for page in pages:
                print_page(page, page.with_suffix(".pdf"), program=program)
    return Path(folder).expanduser()
