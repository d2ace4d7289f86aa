"""Who may use a run folder: one chain or one book, or notebooks run by hand."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import sweep

if TYPE_CHECKING:
    from filelock import BaseFileLock

CHAIN = "HEMATOVISION_CHAIN"  # tells a kernel which run folder its chain holds
ENDING_S = 5.0  # the kernels of a chain that was killed end within about a second
PROCESS = "another process is using it: wait until that one has ended"
NOTEBOOK = "a notebook that is open works on it: shut its kernel down"
_held: dict[Path, BaseFileLock] = {}


@contextmanager
def locked(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Hold a run folder for this process.

    Parameters
    ----------
    folder : Path
        Absolute.
    alone : bool
        Hold it against notebooks too, as a chain must: those that are run by hand, and those that
        a killed chain has left behind. What killed processes had begun to write is swept.

    Raises
    ------
    HematoVisionError
        Where another process holds the folder, or it cannot be written.
    """
    lock = _acquire(folder / ".lock", PROCESS, wait_s=1.0)
    try:
        if alone:
            _wait_for_notebooks(folder)
            sweep(folder)
        os.environ[CHAIN] = str(folder)  # the kernels inherit it
        yield
    finally:
        os.environ.pop(CHAIN, None)
        lock.release()


def hold_in_notebook(folder: Path) -> None:
    """Keep chains from a run folder until this process ends, where it is a notebook's kernel.

    Each kernel holds a lock of its own, so that several notebooks may be open on one folder.

    Raises
    ------
    HematoVisionError
        Where a chain that this kernel does not belong to holds the folder.
    """
    if folder in _held or not _in_kernel():
        return
    lock = _acquire(folder / f".notebook-{os.getpid()}.lock", PROCESS)
    if os.environ.get(CHAIN) != str(folder):
        try:
            _acquire(folder / ".lock", PROCESS).release()
        except HematoVisionError:
            _drop(lock)
            raise
    _held[folder] = lock
    atexit.register(_drop, lock)


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")


def _wait_for_notebooks(folder: Path) -> None:
    until = time.monotonic() + ENDING_S
    for path in folder.glob(".notebook-*.lock"):
        _drop(_acquire(path, NOTEBOOK, wait_s=max(0.0, until - time.monotonic())))


def _drop(lock: BaseFileLock) -> None:
    lock.release()
    with suppress(OSError):
        os.unlink(lock.lock_file)


def _acquire(path: Path, busy: str, *, wait_s: float = 0.0) -> BaseFileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=wait_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise HematoVisionError(
            f"expected the run folder {path.parent} to be free, but {busy}, or choose another run"
        ) from error
    except OSError as error:
        raise HematoVisionError(
            f"expected a run folder that can be written, but {path.parent} refuses it "
            f"({error.strerror}): choose another run or mend its permissions"
        ) from error
    return lock
