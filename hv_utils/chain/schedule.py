"""Which steps of the chain run at once: those whose artefacts are there, on as many workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from hv_utils.chain.steps import Step

POLL_S = 0.5  # Windows hands on a Ctrl-C between two waits alone


def run_steps(
    steps: Sequence[Step],
    carry_out: Callable[[Step], None],
    *,
    jobs: int,
    stop: Callable[[], None],
    echo: Callable[[str], None] = print,
) -> None:
    """Carry out each step after those whose artefacts it reads, several at once.

    Parameters
    ----------
    steps : sequence of Step
        In an order in which they could be carried out one by one; of those that could begin, the
        first does. A step that is `alone` waits until no other runs, as it measures times.
    carry_out : callable
        Called in a thread.
    jobs : int
        Steps that run at once, at most.
    stop : callable
        Ends the steps that run; called until they have ended, when this process is told to stop.
    echo : callable
        Takes a line where others still run beside a step that failed.

    Raises
    ------
    HematoVisionError
        That of the first step that failed, when those that ran beside it have ended: what they
        made is kept.
    """
    waiting, running = list(steps), {}
    error: BaseException | None = None
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while running or (waiting and not error):
                while not error and len(running) < jobs:
                    step = _next(waiting, list(running.values()))
                    if step is None:
                        break
                    waiting.remove(step)
                    running[pool.submit(carry_out, step)] = step
                for future in wait(running, POLL_S, FIRST_COMPLETED).done:
                    step = running.pop(future)
                    error = error or future.exception()
                    if future.exception() and running:
                        names = ", ".join(step.name for step in running.values())
                        echo(f"{step.name} failed; what runs beside it comes to its end: {names}")
        except BaseException:
            _end(running, stop)
            raise
    if error:
        raise error


def _next(waiting: Sequence[Step], running: Sequence[Step]) -> Step | None:
    """Return the first step that could begin now."""
    if any(step.alone for step in running):
        return None
    missing = {name for step in (*waiting, *running) for name in step.writes}
    for step in waiting:
        if not missing & set(step.reads) and not (step.alone and running):
            return step
    return None


def _end(running: dict[Future, Step], stop: Callable[[], None]) -> None:
    while not all(future.done() for future in running):
        stop()
        wait(running, POLL_S)
