"""What a user's path stands for: a file, a folder, or a pattern such as `cells/*.png`."""

from __future__ import annotations

import glob
from pathlib import Path


def matches(given: str | Path) -> list[Path]:
    """Return the files and folders that a path or a pattern stands for.

    Parameters
    ----------
    given : str or Path
        What exists is meant as it is, brackets and all; so is the part of a pattern that is a
        folder. `**` goes through all folders below.

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
    return sorted(there / name for name in found)
