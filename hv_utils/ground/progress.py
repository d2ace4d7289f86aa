"""Progress of long work, for terminals, notebooks and log files alike."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def print_progress(what: str, *, every_s: float = 15.0) -> Callable[[int, int], None]:
    """Return a `progress` function that prints a line now and then, for terminals and log files.

    Parameters
    ----------
    what : str
        Name of the work, at the start of the line.
    every_s : float
        Seconds between lines; the last line is always printed.
    """
    start = last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= every_s:
            last = now
            bar = "█" * (20 * done // total)
            print(f"{what} {bar:░<20} {done:,} of {total:,} ({now - start:.0f} s)", flush=True)

    return progress


def bars(unit: str) -> Progress:
    """Return bars of several works at once, below the lines that are printed meanwhile.

    A log file gets the lines alone.

    Parameters
    ----------
    unit : str
        What a work is counted in.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    text = TextColumn("{task.description:<24}", markup=False)
    columns = (text, BarColumn(16), unit, MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, transient=True)


class NamedLines(io.TextIOBase):
    """A text stream that hands on whole lines, each behind the name of where it comes from.

    Parameters
    ----------
    name : str
    echo : callable
        Takes a line.
    """

    def __init__(self, name: str, echo: Callable[[str], None]) -> None:
        self._name, self._echo, self._rest = name, echo, ""

    def write(self, text: str) -> int:
        """Take some text."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._echo(f"{self._name}: {line}")
        return len(text)
