"""Files: written whole or not at all, JSON, fingerprints, folders, patterns; and the cores."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hv_utils.ground.errors import HematoVisionError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PART = re.compile(r"\.(\d+)\.part(\.\w+)?$")  # with the number of the process that writes it
# What systems, network drives and programs put beside people's files; compared in lower case.
SYSTEM_NAMES = frozenset(
    {
        *("__macosx", "icon\r", "network trash folder", "temporary items"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "recycler"),
        *("system volume information", "lost+found", "__pycache__"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
    }
)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed onto it when the block succeeds.

    A reader therefore never sees half a file, and a failed writer leaves the old one in place. A
    link stays a link: the file that it names is written. A pipe or a device such as `/dev/stdout`
    is written as it is.

    Parameters
    ----------
    path : Path
        The file to write; its folder is made where missing.

    Yields
    ------
    Path
        A temporary path with the suffix of `path`.

    Raises
    ------
    HematoVisionError
        Where the file cannot be written; whatever else goes wrong in the block passes as it is.
    """
    path = Path(path)
    if os.path.exists(path) and not (path.is_file() or path.is_dir()):
        yield path
        return
    if os.path.islink(path):
        path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        at_fault = isinstance(error.filename, str) and Path(error.filename)
        if error.errno not in DISK_FULL and at_fault not in (temporary, path, *path.parents):
            raise
        raise HematoVisionError(
            f"expected a place that can be written, but {path} cannot be "
            f"({error.strerror or error}): choose another, make room or mend the permissions"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Give a temporary path that becomes the folder when the block succeeds, or else is gone.

    Parameters
    ----------
    folder : str or Path
        New or empty.

    Yields
    ------
    Path
        Where to write; nothing is there yet.

    Raises
    ------
    HematoVisionError
        See `need_room`; before the block begins.
    """
    folder = Path(folder).expanduser().absolute()
    need_room(folder)
    with atomic_path(folder) as temporary:
        try:
            yield temporary
            if folder.is_dir():
                folder.rmdir()  # it is empty: some systems rename onto nothing only
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def need_room(folder: str | Path) -> None:
    """Refuse a folder that holds something.

    Raises
    ------
    HematoVisionError
        Where it is a file, or not empty.
    """
    folder = Path(folder).expanduser()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        what = "a file" if folder.is_file() else f"{next(folder.iterdir()).name} lies in it"
        raise HematoVisionError(
            f"expected a new or an empty folder, but {folder} is not ({what}): choose another, or "
            "remove what is no longer needed; nothing was written"
        )


def sweep(folder: Path) -> None:
    """Remove what killed processes had begun to write below `folder`: files and folders `.part`."""
    import psutil

    for path in list(folder.rglob("*.part*")):
        match = PART.search(path.name)
        if match and (int(match[1]) == os.getpid() or not psutil.pid_exists(int(match[1]))):
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write `text` to `path` whole or not at all (UTF-8)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def dump_json(value: Any) -> str:
    """Return `value` as indented JSON; NumPy numbers and arrays become plain ones."""
    return json.dumps(value, indent=2, default=_plain, ensure_ascii=False) + "\n"


def renewed_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file that the project keeps; an empty one where there is none.

    A file that is empty, cut or no mapping is put aside with one line, so that it is written anew.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:  # no JSON, or not even text
        value = None
    if isinstance(value, dict):
        return value
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    print(f"{path} was damaged and is begun anew; it is now {aside.name}", file=sys.stderr)
    return {}


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_system(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden or a system's own: nobody's image."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def files_below(folder: str | Path, *, ordered: bool = True) -> Iterator[Path]:
    """Yield the files at any depth below a folder, in the order of their paths.

    Hidden and system files and folders are passed over, see `is_system`. Links to folders are
    followed, and each folder is entered once, so that no loop of links is endless.

    Parameters
    ----------
    folder : str or Path
        Entered whatever its own name is.
    ordered : bool
        Where the order does not matter, no folder's names are held in memory.

    Yields
    ------
    Path
        Below `folder`; also a link that leads nowhere, so that its loss is noticed.

    Raises
    ------
    OSError
        Where a folder cannot be read.
    """
    yield from _files_below(str(folder), set(), ordered)


def _files_below(folder: str, seen: set[tuple[int, int]], ordered: bool) -> Iterator[Path]:
    facts = os.stat(folder)
    if (facts.st_dev, facts.st_ino) in seen:
        return
    seen.add((facts.st_dev, facts.st_ino))
    with os.scandir(folder) as found:
        entries = (entry for entry in found if not is_system(entry.name))
        for entry in sorted(entries, key=lambda entry: entry.name) if ordered else entries:
            if _is_folder(entry):
                yield from _files_below(entry.path, seen, ordered)
            else:
                yield Path(entry.path)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def matches(given: str | Path) -> list[Path]:
    """Return the files and folders that a path or a pattern stands for.

    Parameters
    ----------
    given : str or Path
        What exists is meant as it is, brackets and all; so is the part of a pattern that is a
        folder. `**` goes through all folders below but the systems' own, see `is_system`.

    Returns
    -------
    list of Path
        Sorted; empty where there is nothing.

    Raises
    ------
    OSError
        Where a folder cannot be read or a name is too long.
    """
    path = Path(given).expanduser()
    if path.exists():
        return [path]
    there = next((parent for parent in path.parents if parent.is_dir()), None)
    if there is None:
        return []
    found = glob.glob(str(path.relative_to(there)), root_dir=there, recursive=True)
    parts = ((name, Path(name.lower()).parts) for name in found)
    return sorted(there / name for name, names in parts if SYSTEM_NAMES.isdisjoint(names))


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
