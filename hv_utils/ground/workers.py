"""Who computes: processes of this machine, or the workers of a Dask scheduler.

Both take a function and its arguments, and give a future of `concurrent.futures`. What one that was
killed had in hand is done again by another.
"""

from __future__ import annotations

import logging
import multiprocessing
import pkgutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from hv_utils import __version__
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.extras import load

ANSWER_S = 5.0  # for a scheduler to answer
WORKERS_S = 60.0  # for workers to come, at first and after all were lost
POLL_S = 1.0
MOST_BREAKS = 3  # processes of this machine that may be killed
GOES_ON = "what was finished is kept, and the same command goes on"


class Workers(Protocol):
    """Who takes work.

    Attributes
    ----------
    losses : tuple of type
        Errors of futures that tell of lost workers, and nothing of the work.
    """

    losses: tuple[type[BaseException], ...]

    def slots(self) -> int:
        """Return how much of it is done at once."""

    def submit(self, function: Callable, *arguments: Any) -> Future:
        """Hand over a piece of it."""

    def check(self) -> None:
        """Raise a `HematoVisionError` where nobody works any more."""

    def renew(self, error: BaseException) -> None:
        """Make ready to do again what was lost to `error`; raise where it cannot be."""


def done(
    workers: Workers, function: Callable[..., Any], pieces: Iterable[tuple]
) -> Iterator[tuple[tuple, Any]]:
    """Yield each piece of work with what `function` makes of it, as they end.

    Parameters
    ----------
    workers : Workers
    function : callable
        What a module holds, so that another process finds it.
    pieces : iterable of tuple
        Its arguments; read little further than there is work for, so that memory does not grow with
        their number.

    Raises
    ------
    Exception
        The first that `function` raises.
    HematoVisionError
        Where the workers are lost.
    """
    running: dict[Future, tuple] = {}
    waiting = iter(pieces)
    while True:
        room = 2 * workers.slots() - len(running)  # so that none waits for the next piece
        for piece in islice(waiting, max(0, room)):
            running[workers.submit(function, *piece)] = piece
        if not running:
            return
        for future in wait(running, POLL_S, FIRST_COMPLETED).done:
            piece = running.pop(future)
            try:
                result = future.result()
            except workers.losses as error:
                workers.renew(error)
                lost = [piece, *running.values()]
                running = {workers.submit(function, *one): one for one in lost}
                break
            yield piece, result
        workers.check()


class Processes:
    """Processes of this machine, one a core.

    Parameters
    ----------
    count : int
    """

    losses = (BrokenProcessPool,)

    def __init__(self, count: int) -> None:
        self._count, self._breaks = count, 0
        self._begin()

    def _begin(self) -> None:
        # Not forked: a process with threads, as ONNX Runtime's, must not be.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(self._count, mp_context=context, initializer=_follow)

    def submit(self, function: Callable, *arguments: Any) -> Future:
        """Hand a piece of work to the next process that is free."""
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool as error:
            lost: Future = Future()
            lost.set_exception(error)
            return lost

    def slots(self) -> int:
        """Return how many there are."""
        return self._count

    def check(self) -> None:
        """Return: what has been killed tells so itself."""

    def renew(self, error: BaseException) -> None:
        """Start new processes after one was killed, a few times."""
        self._breaks += 1
        self._pool.shutdown(wait=False)
        if self._breaks > MOST_BREAKS:
            raise HematoVisionError(
                f"expected processes that live, but one was killed {self._breaks} times, probably "
                f"for want of memory: close other programs or make room; {GOES_ON}"
            ) from error
        self._begin()

    def close(self, *, at_once: bool) -> None:
        """End the processes; `at_once` leaves what they are at."""
        if at_once:
            for child in multiprocessing.active_children():
                child.terminate()
        self._pool.shutdown(cancel_futures=True)


def _follow() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


class Threads:
    """Threads of this process, for work that itself is done in processes.

    Parameters
    ----------
    count : int
    """

    losses = ()

    def __init__(self, count: int) -> None:
        self._count, self._pool = count, ThreadPoolExecutor(count)
        self.submit = self._pool.submit

    def slots(self) -> int:
        """Return how many there are."""
        return self._count

    def check(self) -> None:
        """Return: they live as long as this process."""

    def close(self, *, at_once: bool) -> None:
        """End the threads when what they are at has ended; `at_once` leaves what waits."""
        self._pool.shutdown(cancel_futures=at_once)


class Scheduler:
    """The workers of a Dask scheduler.

    Parameters
    ----------
    address : str
        Such as `tcp://10.0.0.5:8786`.
    files : sequence of Path
        Sent to each worker, to those that come later, too; see `sent`.

    Raises
    ------
    HematoVisionError
        Where no scheduler answers, no worker comes, or one runs another version of this package.
    """

    def __init__(self, address: str, *, files: Iterable[Path] = ()) -> None:
        distributed = load("distributed", extra="scale", wanted_for="--scheduler")
        from distributed.diagnostics.plugin import UploadFile

        self.address = address
        self.losses = (distributed.KilledWorker, distributed.core.CommClosedError, CancelledError)
        self._seen = time.monotonic()
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is lost we say ourselves
        try:
            self._client = distributed.Client(address, timeout=ANSWER_S, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise HematoVisionError(
                f"expected a Dask scheduler at {address}, but none answers within "
                f"{ANSWER_S:.0f} s: check --scheduler, or start one with `dask scheduler`"
            ) from error
        try:
            with suppress(TimeoutError):
                self._client.wait_for_workers(1, timeout=WORKERS_S)
            self._seen -= WORKERS_S  # they have had their time
            self.check()
            self._same_version()
            for file in files:
                plugin = UploadFile(str(file), load=False)
                self._client.register_plugin(plugin, name=f"hematovision-{file.name}")
        except BaseException:
            self._client.close()
            raise
        self._executor = self._client.get_executor(pure=False)

    def _same_version(self) -> None:
        name = f"{__name__.partition('.')[0]}:__version__"
        versions = self._client.run(pkgutil.resolve_name, name, on_error="return")
        for worker, version in versions.items():
            check_version(version, worker)

    def slots(self) -> int:
        """Return how many threads the workers have now."""
        return max(1, sum(self._client.nthreads().values()))

    def submit(self, function: Callable, *arguments: Any) -> Future:
        """Hand a piece of work to the scheduler; Dask does it again where a worker is lost."""
        return self._executor.submit(_at_worker, __version__, function, *arguments)

    def check(self) -> None:
        """Refuse to wait longer for workers, or for a scheduler that has gone."""
        try:
            if self._client.nthreads():
                self._seen = time.monotonic()
        except (OSError, RuntimeError, TimeoutError, ValueError) as error:
            self.renew(error)
        if time.monotonic() - self._seen > WORKERS_S:
            raise HematoVisionError(
                f"expected workers at the scheduler {self.address}, but for {WORKERS_S:.0f} s "
                f"there was none: start some with `dask worker {self.address}`; {GOES_ON}"
            )

    def renew(self, error: BaseException) -> None:
        """Say what was lost: Dask itself has tried again."""
        if isinstance(error, self.losses[0]):
            raise HematoVisionError(
                f"expected workers that live, but several in a row died of the same part "
                f"({str(error.task)[:60]}), probably for want of memory: give them more; {GOES_ON}"
            ) from error
        raise HematoVisionError(
            f"expected the scheduler {self.address} to stay, but it is gone "
            f"({str(error).splitlines()[0][:80] if str(error) else type(error).__name__}): "
            f"start it and its workers again; {GOES_ON}"
        ) from error

    def close(self, *, at_once: bool) -> None:
        """Leave the scheduler; what it was at for us is given up."""
        with suppress(OSError, RuntimeError, TimeoutError):
            self._client.close()


def check_version(version: Any, worker: str) -> None:
    """Refuse a worker of another version, or without this package (`version` is then an error)."""
    if version != __version__:
        found = "has no hematovision" if isinstance(version, BaseException) else f"runs {version}"
        raise HematoVisionError(
            f"expected workers with hematovision {__version__}, as here, but {worker} {found}: "
            "install the same version there"
        )


def _at_worker(version: str, function: Callable, *arguments: Any) -> Any:
    """Do a piece of work, unless this worker came later and has another version."""
    if version != __version__:
        from distributed import get_worker

        raise HematoVisionError(
            f"expected workers with hematovision {version}, as the client has, but "
            f"{get_worker().address} runs {__version__}: install the same version there"
        )
    return function(*arguments)


def sent(name: str) -> Path:
    """Return where the worker that this runs on keeps a file that was sent to it."""
    from distributed import get_worker

    return Path(get_worker().local_directory) / name


@contextmanager
def workers(
    scheduler: str | None, *, count: int, files: Iterable[Path] = ()
) -> Iterator[Processes | Scheduler]:
    """Give the workers of a scheduler, or else so many processes of this machine.

    Parameters
    ----------
    scheduler : str, optional
    count : int
        Of processes.
    files : iterable of Path
        See `Scheduler`.
    """
    found = Scheduler(scheduler, files=files) if scheduler else Processes(count)
    try:
        yield found
    except BaseException:
        found.close(at_once=True)
        raise
    found.close(at_once=False)
