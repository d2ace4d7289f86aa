"""Progress of long work, for terminals, notebooks and log files alike."""

from __future__ import annotations

import time
from collections.abc import Callable


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
