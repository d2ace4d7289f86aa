"""The image files that a user names: files, folders with all below them, patterns."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import SYSTEM_NAMES, files_below, matches

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k", ".jpx"),
        *(".png", ".apng", ".gif", ".webp", ".avif", ".bmp", ".dib", ".tga"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
NAMED_SUFFIXES = 5


@dataclass
class Listing:
    """Image files, and how many other files lay beside them.

    Attributes
    ----------
    files : list of Path
        In the order of their paths; of what was named, in the order given; no file twice.
    others : Counter
        Files that are no images by their ending, by that ending ("" for none).
    """

    files: list[Path] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)

    def left_out(self) -> str:
        """Say in a line which files were passed over, "" where none was."""
        if not self.others:
            return ""
        endings = [
            f"{suffix or 'without an ending'} ({count:,})"
            for suffix, count in self.others.most_common(NAMED_SUFFIXES)
        ]
        more = ", …" if len(self.others) > NAMED_SUFFIXES else ""
        return (
            f"left out as no images by their endings: {self.others.total():,} files, "
            f"{', '.join(endings)}{more}"
        )


def images_below(folder: str | Path) -> Listing:
    """List the image files at any depth below a folder, see `files.files_below`.

    Raises
    ------
    HematoVisionError
        Where a folder cannot be read.
    """
    listing = Listing()
    with readable(folder):
        listing.files += images_among(files_below(folder), listing.others)
    return listing


def images_among(files: Iterable[Path], others: Counter) -> Iterator[Path]:
    """Yield the image files, by their endings, and count the others in `others`."""
    for path in files:
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            yield path
        else:
            others[suffix] += 1


def find_images(paths: Iterable[str | Path], *, besides: str | Path | None = None) -> Listing:
    """Expand files, folders (with all below them) and patterns such as `cells/*.png`.

    Parameters
    ----------
    paths : iterable of str or Path
        What the user named. A file is taken whatever its ending, but for those that a system
        left behind; a folder gives its image files, also where a pattern names it.
    besides : str or Path, optional
        A folder whose files are left out wherever they turn up: that of our own overlays.

    Returns
    -------
    Listing
        In the order given, a folder's files sorted, no file twice.

    Raises
    ------
    HematoVisionError
        For a path that does not exist, a pattern that fits nothing, a folder without images.
    """
    listing, seen, passed = Listing(), set(), ""
    ours = os.path.realpath(Path(besides).expanduser()) + os.sep if besides else None
    real_folder = lru_cache(os.path.realpath)  # a folder holds many files
    for given in paths:
        for path in images_named(str(given), listing.others):
            folder, name = os.path.split(path)
            real = os.path.join(real_folder(folder), name)
            if os.path.islink(path):
                real = os.path.realpath(path)
            if ours and real.startswith(ours):
                passed = f"all that were named lie in {besides}, where the overlays go"
            elif real not in seen:
                listing.files.append(path)
            seen.add(real)
    if not listing.files:
        raise HematoVisionError(
            f"expected images, but {passed or 'what was named is what a system left behind'}: "
            "name another folder for these"
        )
    return listing


def images_named(given: str, others: Counter, *, ordered: bool = True) -> Iterator[Path]:
    """Yield the files behind one argument; see `find_images`.

    Parameters
    ----------
    given : str
    others : Counter
        Takes the files that are no images, by their endings.
    ordered : bool
        See `files.files_below`.
    """
    if not given:
        raise HematoVisionError(
            "expected an image, a folder or a pattern, but the path is empty: "
            "is a variable of the shell unset?"
        )
    beside, none = Counter(), True
    with readable(given):
        found = matches(given)
        for path in found:
            if path.name.lower() in SYSTEM_NAMES:  # from `folder/*`, as the shell expands it
                continue
            below = images_among(files_below(path, ordered=ordered), beside)
            for file in below if path.is_dir() else [path]:
                none = False
                yield file
    if not found:
        raise HematoVisionError(
            f"expected an image, a folder or a pattern, but nothing is at {given}: check the path"
        )
    others.update(beside)
    if none and Path(given).name.lower() not in SYSTEM_NAMES:
        raise HematoVisionError(
            f"expected images in the folder {given}, but it has none: "
            f"{Listing(others=beside).left_out() or 'it is empty'}; files ending in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))} are looked for"
        )


@contextmanager
def readable(what: str | Path) -> Iterator[None]:
    """Turn the system's refusals while looking for files into one line."""
    try:
        yield
    except OSError as error:
        raise HematoVisionError(
            f"expected an image, a folder or a pattern, but {str(what)[:80]} cannot be looked up "
            f"({error.strerror or error}): check the path and its permissions"
        ) from error
