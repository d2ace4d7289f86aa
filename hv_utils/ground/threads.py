"""Work on many things at once, in threads, with the results in order and memory bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any


def in_order(work: Callable[[Any], Any], items: Iterable[Any], *, workers: int) -> Iterator[Any]:
    """Yield what `work` makes of each item, in the order of the items.

    Parameters
    ----------
    work : callable
        Called from `workers` threads.
    items : iterable
        Taken up only as fast as results are used.
    workers : int
        With 1 there are no threads.
    """
    if workers <= 1:
        yield from map(work, items)
        return
    waiting = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        # One more than there are workers, so that none waits for the reader of the results.
        running = deque(pool.submit(work, item) for item in islice(waiting, workers + 1))
        while running:
            result = running.popleft().result()
            running.extend(pool.submit(work, item) for item in islice(waiting, 1))
            yield result
