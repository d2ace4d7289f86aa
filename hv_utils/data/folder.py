"""The source `folder`: one's own images, one sub-folder a class."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hv_utils.data.archive import open_archive
from hv_utils.data.groups import read_groups
from hv_utils.data.layout import read_folders
from hv_utils.data.protocol import Contents, Place, Settings
from hv_utils.ground.errors import HematoVisionError

TAKES = ("folder", "groups")
UNGROUPED = (
    "which images come from one patient or show one cell is not known: likenesses may lie on both "
    "sides of the split, and the scores be too good; say which with -p groups"
)


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


def attach(
    images: pd.DataFrame, place: Place, settings: Settings
) -> tuple[pd.DataFrame, list[str]]:
    """Add the groups that the user names; of the cells nothing is known."""
    unknown = pd.Series(pd.NA, index=images.index, dtype="string")
    images = images.assign(cell=unknown, group=unknown)
    if not settings.groups:
        return images, [UNGROUPED]
    groups, notes = read_groups(images, settings.groups, root=place.images)
    about = f"groups: {groups.nunique():,} for {len(images):,} images; each stays on one side"
    return images.assign(group=groups), [about, *notes]
