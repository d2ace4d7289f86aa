"""The source `folder`: one's own images, one sub-folder a class."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hv_utils.data.archive import open_archive
from hv_utils.data.layout import read_folders
from hv_utils.data.protocol import Contents, Place, Settings
from hv_utils.ground.errors import HematoVisionError

TAKES = ("folder",)


def find(settings: Settings) -> Place:
    """Find the folder; an archive is unpacked.

    Raises
    ------
    HematoVisionError
        Where none is given, or nothing is there.
    """
    if not settings.folder:
        raise HematoVisionError(
            "expected a folder with one sub-folder per class, but none was given: "
            "name it with -p folder PATH"
        )
    root, facts = open_archive(settings.folder)
    return Place(root, root if Path(settings.folder).is_dir() else _unwrapped(root), facts)


def _unwrapped(root: Path) -> Path:
    """Return the folder that an archive was packed from, which most programs pack along."""
    while len(inside := list(root.iterdir())) == 1 and inside[0].is_dir():
        root = inside[0]
    return root


def read(place: Place) -> Contents:
    """List the images, see `layout.read_folders`."""
    files, notes = read_folders(place.images)
    return Contents(files, notes=notes)


def attach(images: pd.DataFrame, place: Place, settings: Settings) -> pd.DataFrame:
    """Say that nothing is known of the cells."""
    unknown = pd.Series(pd.NA, index=images.index, dtype="string")
    return images.assign(cell=unknown, group=unknown)
