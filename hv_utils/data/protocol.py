"""What a source of images is: a module with three functions, and what goes between them.

`find` makes the files available, `read` lists them with their labels, `attach` adds what is known
of the cells. A further source is one more module, registered in `sources.SOURCES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from hv_utils.ground.runs import Run

PHOTO_COLUMNS = ["photo", "path", "category", "label", "doubt", "white_cells"]


@dataclass(frozen=True)
class Settings:
    """What a user can say about a source; each heeds its own part.

    Attributes
    ----------
    run : Run
        The demo is drawn into this run's folder.
    seed : int
        Draws the demo and the held-out parts.
    archive : str
        A zip or tar file or an unpacked folder; "" downloads the set.
    folder : str
        A folder of class folders, or an archive of one.
    groups : str
        Which images belong together, see `groups.read_groups`.
    source_map : str
        Which photo each image was made from, see `source_map.read_source_map`; "" for the
        published map.
    demo : mapping
        Sizes for `hv_utils.drawn.demo.make_demo`.
    """

    run: Run
    seed: int = 0
    archive: str = ""
    folder: str = ""
    groups: str = ""
    source_map: str = ""
    demo: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where the files of a source lie.

    Attributes
    ----------
    root : Path
        The folder below which everything is.
    images : Path
        The folder of class folders, or of split folders with class folders in them.
    facts : dict
        What identifies the data: name, bytes, fingerprint.
    """

    root: Path
    images: Path
    facts: dict


@dataclass(frozen=True)
class Contents:
    """What a source lists.

    Attributes
    ----------
    files : pandas.DataFrame
        Columns `path` (absolute), `label`, `split` (train, val, test or simple).
    photos : pandas.DataFrame
        The originals, see `sources.DataSet.photos`; empty where there are none.
    left_out : list of tuple of str
        (path, reason) of each file that cannot be used.
    notes : list of str
        Lines that a reader should know.
    """

    files: pd.DataFrame
    photos: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PHOTO_COLUMNS))
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Source(Protocol):
    """The module of a source."""

    TAKES: tuple[str, ...]
    """Those of the settings that are paths and mean something to this source alone."""

    def find(self, settings: Settings) -> Place:
        """Make the files available: unpack, download or draw them."""

    def read(self, place: Place) -> Contents:
        """List the images with their labels and splits."""

    def attach(
        self, images: pd.DataFrame, place: Place, settings: Settings
    ) -> tuple[pd.DataFrame, list[str]]:
        """Add `cell` and `group`, box and mask where they are known; and notes as in `Contents`."""
