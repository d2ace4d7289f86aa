"""Which of one's own images belong together: a patient's, a slide's; from a table or from names.

Images of one patient resemble each other beyond their class, so they belong on one side of a split.
Only the user knows which they are.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath

import pandas as pd

from hv_utils.data.layout import below_class
from hv_utils.data.tables import column, read_table
from hv_utils.ground.errors import HematoVisionError

FILE_COLUMNS = ("file", "path", "image", "filename")
GROUP_COLUMNS = ("group", "patient", "subject", "donor", "slide", "smear")
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".xls", ".xlsx", ".ods"})
WHOLE_NUMBER = (r"^(\d+)[.,]0+$", r"\1")  # as a spreadsheet may write it


def read_groups(images: pd.DataFrame, groups: str, *, root: Path) -> tuple[pd.Series, list[str]]:
    """Return the group of each image.

    Parameters
    ----------
    images : pandas.DataFrame
        Has `path` and `sha256`, the digest of each file's content.
    groups : str
        A CSV file with a column `file` (`FILE_COLUMNS`) and a column `patient`, `slide` or `group`
        (the first of `GROUP_COLUMNS` counts), one row an image; a file is named by the end of its
        path, as much of it as is needed, with or without its ending. Or a regular expression with
        one pair of parentheses, looked for in the path of an image below its class folder: what
        stands in the parentheses is the group, as in `^([^_]+)_`.
    root : Path
        The folder of class folders.

    Returns
    -------
    groups : pandas.Series of str
        Index of `images`.
    notes : list of str
        What a reader should know of the table.

    Raises
    ------
    HematoVisionError
        Where an image has no group or two, a row fits several images, one and the same picture is
        in two groups, or there is neither such a file nor a pattern.
    """
    file = Path(groups).expanduser()
    if file.is_file():
        found, notes = _from_table(images, file)
    elif file.suffix.lower() in TABLE_SUFFIXES or "(" not in groups:
        raise HematoVisionError(
            f"expected a table or a pattern with (parentheses) behind groups, but nothing is at "
            f"{groups}: check the path"
        )
    else:
        found, notes = _from_names(images, groups, root), []
    _refuse_one_picture_in_two(images.assign(group=found))
    return found, notes


def _refuse_one_picture_in_two(images: pd.DataFrame) -> None:
    for _, part in images[images["sha256"].duplicated(keep=False)].groupby("sha256"):
        if part["group"].nunique() > 1:
            (first, one), (second, other) = (
                part.drop_duplicates("group")[["path", "group"]].head(2).to_numpy()
            )
            raise HematoVisionError(
                f"expected each picture in one group, but {first} ({one}) and {second} ({other}) "
                "are the same file: one of the groups is wrong, or one of the files"
            )


def _from_names(images: pd.DataFrame, pattern: str, root: Path) -> pd.Series:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise HematoVisionError(
            f"expected a regular expression behind groups, but {pattern} is none ({error}): "
            "put it in quotes, and mend it"
        ) from error
    if compiled.groups != 1:
        raise HematoVisionError(
            f"expected one pair of parentheses in the pattern of the groups, but {pattern} has "
            f"{compiled.groups}: put it around what names the patient; (?:…) groups without naming"
        )
    names = [_plain(below_class(path, root)) for path in images["path"]]
    found = [compiled.search(name) for name in names]
    missing = [name for name, one in zip(names, found, strict=True) if not (one and one[1])]
    if missing:
        raise HematoVisionError(
            f"expected a group in the name of every image, but {pattern} finds none in "
            f"{len(missing):,} of {len(names):,}, such as {missing[0]}: mend the pattern"
        )
    return pd.Series([one[1] for one in found], images.index, dtype="string")


def _from_table(images: pd.DataFrame, file: Path) -> tuple[pd.Series, list[str]]:
    table = read_table(file)
    named = column(table, FILE_COLUMNS, path=file)
    groups = column(table, GROUP_COLUMNS, path=file).str.replace(*WHOLE_NUMBER, regex=True)
    blank = table.index[(groups == "") | (named == "")]
    if len(blank):
        raise HematoVisionError(
            f"expected a file and a {groups.name} in every row of {file}, but row {blank[0]} below "
            f"the header lacks one (and {len(blank) - 1} more): fill it in, or take the row out"
        )
    rows = _rows_of_images(images["path"], named, file)
    found: dict[object, str] = {}
    for row, image in rows.items():
        if found.setdefault(image, groups[row]) != groups[row]:
            raise HematoVisionError(
                f"expected one {groups.name} for each file of {file}, but {named[row]} has "
                f"{found[image]} and {groups[row]}: mend the table"
            )
    missing = images.loc[~images.index.isin(list(found)), "path"]
    if len(missing):
        raise HematoVisionError(
            f"expected a row of {file} for each of the {len(images):,} images, but "
            f"{len(missing):,} have none, such as {missing.iloc[0]} (its first row is for "
            f"{named.iloc[0]}): add rows, or write the files as they are called below their folder"
        )
    others = named.drop(list(rows))
    note = f"rows of {file.name} for no image that is here: {len(others):,}"
    notes = [f"{note}, such as {others.iloc[0]}"] if len(others) else []
    return images.index.to_series().map(found).astype("string"), notes


def _rows_of_images(paths: pd.Series, named: pd.Series, file: Path) -> dict[int, object]:
    """Return for each row of the table that fits an image the index of that image."""
    by_name: dict[str, list[tuple[tuple[str, ...], object]]] = {}
    for index, path in paths.items():
        parts = PurePosixPath(_plain(Path(path).as_posix()).lower()).parts
        for name in {parts[-1], PurePosixPath(parts[-1]).stem}:
            by_name.setdefault(name, []).append((parts[:-1], index))
    rows = {}
    for row, text in named.items():
        wanted = PurePosixPath(_plain(text).replace("\\", "/").lower())
        folders = wanted.parts[:-1]
        fits = [
            index
            for above, index in by_name.get(wanted.name, [])
            if above[len(above) - len(folders) :] == folders
        ]
        if len(fits) > 1:
            raise HematoVisionError(
                f"expected each row of {file} to fit one image, but {text} fits {len(fits)}, such "
                f"as {paths[fits[0]]} and {paths[fits[1]]}: write the folder in front of the name"
            )
        if fits:
            rows[row] = fits[0]
    return rows


def _plain(text: str) -> str:
    """Return a name in one form: a Mac takes letters and accents apart."""
    return unicodedata.normalize("NFC", text)
