"""`hv review`: one page on which a person looks through verdicts and corrects them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hv_utils import __version__
from hv_utils.ground.files import write_text
from hv_utils.serve.crops import Field, fields_of
from hv_utils.serve.pages import check_name, fill
from hv_utils.serve.verdicts import Table, Verdict, newer_pictures, read_verdicts

KEY_DIGITS = 16


@dataclass(frozen=True)
class Review:
    """A page that was written.

    Attributes
    ----------
    path : Path
    cells, pictures : int
    megabytes : float
    notes : list of str
        Lines that its maker should read.
    """

    path: Path
    cells: int
    pictures: int
    megabytes: float
    notes: list[str]

    def text(self) -> str:
        """Return the report as printed."""
        return (
            f"review of {self.cells:,} cells in {self.pictures:,} pictures: {self.path} "
            f"({self.megabytes:.1f} MB); open it in a browser"
        )


def write_review(
    verdicts: str | Path,
    out: str | Path = "review.html",
    *,
    blind: bool = False,
    um_per_pixel: float | None = None,
) -> Review:
    """Write the page on which the verdicts of a table are reviewed.

    Parameters
    ----------
    verdicts : str or Path
        See `verdicts.read_verdicts`.
    out : str or Path
        The page, ending in `.html`. It holds everything, pictures included, and needs no network.
    blind : bool
        Whether it begins without showing what the model said.
    um_per_pixel : float, optional
        Scale of the pictures, as it was given to `hv predict`.

    Returns
    -------
    Review

    Raises
    ------
    HematoVisionError
        Where the table or its pictures cannot be read, or the page cannot be written.
    """
    out = check_name(out)
    table = read_verdicts(verdicts)
    fields = fields_of(table.verdicts, um_per_pixel=um_per_pixel)
    page = fill("review", facts_of(table, fields, blind=blind), _pictures(fields))
    write_text(out, page)
    notes = []
    if newer := newer_pictures(table):
        notes.append(
            f"{len(newer)} pictures were written after {table.path}, such as {newer[0]}: if they "
            "have changed, call hv predict again"
        )
    return Review(out, len(table.verdicts), len(fields), len(page) / 1e6, notes)


def facts_of(
    table: Table, fields: list[tuple[Field, list[int]]], *, blind: bool = False
) -> dict[str, Any]:
    """Return what the page's script works on: all but the pictures.

    A cell is named by its picture's content and its place there, so that two reviews of the same
    pictures can be compared wherever these lie; the review is named by its cells and verdicts, so
    that progress and files of another one are told apart.

    Returns
    -------
    dict
        `format`, `version`, `program`, `review`, `table`, `made`, `blind`, `classes`, `choices`,
        `fields` and `cells`.
    """
    cells: list[dict[str, Any]] = [{} for _ in table.verdicts]
    names: dict[str, int] = {}
    for number, (field, numbers) in enumerate(fields):
        for part, verdict in enumerate(numbers):
            cell = _cell(table.verdicts[verdict], field, part) | {"field": number}
            again = names[cell["id"]] = names.get(cell["id"], 0) + 1
            cell["id"] += f"#{again}" if again > 1 else ""  # one picture under several names
            cells[verdict] = cell
    told = [[cell[name] for name in ("id", "verdict", "status", "confidence")] for cell in cells]
    digest = hashlib.sha256(json.dumps([table.classes, told]).encode())
    return {
        "format": "hematovision-review",
        "version": 1,
        "program": f"HematoVision {__version__}",
        "review": digest.hexdigest()[:KEY_DIGITS],
        "table": table.path.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "blind": blind,
        "classes": table.classes,
        "choices": table.choices(),
        "fields": [
            {"name": field.path.name, "path": str(field.path), "size": field.size}
            for field, _ in fields
        ],
        "cells": cells,
    }


def _cell(verdict: Verdict, field: Field, part: int) -> dict[str, Any]:
    name = field.digest[:KEY_DIGITS] or verdict.path.name
    place = ":{:.0f},{:.0f}".format(*verdict.middle) if verdict.middle else ""
    probs = [None if share is None else round(share, 4) for share in verdict.probs]
    return {
        "id": name + place,
        "number": verdict.cell,
        "middle": verdict.middle,
        "box": field.boxes[part],
        "verdict": verdict.predicted,
        "confidence": verdict.confidence,
        "status": verdict.status,
        "probs": probs,
        "set": verdict.members,
        "why": verdict.why,
    }


def _pictures(fields: list[tuple[Field, list[int]]]) -> dict[str, str]:
    pictures = {}
    for number, (field, numbers) in enumerate(fields):
        pictures[f"field-{number}"] = field.picture
        pictures |= {f"crop-{n}": crop for n, crop in zip(numbers, field.crops, strict=True)}
    return pictures
