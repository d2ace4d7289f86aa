"""What `hv count` adds up, shows and draws: the differential with its limits, ratios, overlays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path
from hv_utils.ground.predictions import prob_columns
from hv_utils.images.labels import COLOURS
from hv_utils.images.reading import read_image
from hv_utils.inference.detector import PLATELET, RED, WHITE
from hv_utils.inference.onnx_model import NOT_A_CELL, OK, UNREADABLE, UNSURE
from hv_utils.inference.preparation import LEARNT_SHARES
from hv_utils.scores.differential import differential, ratio, rebalanced

if TYPE_CHECKING:
    from hv_utils.inference.counting import CountedField

APART, LEFT_OUT, SHARED_OUT = DOUBTFUL = ("apart", "left-out", "shared-out")
NO_WHITE_CELLS = ("erythroblast", "platelet")  # kinds that a differential does not share in
FINDINGS = {"erythroblast": "erythroblast", "ig": "immature granulocyte"}
ENOUGH = 100  # cells of a differential, at least
OTHER_WHITE, RED_LINE, PLATELET_LINE = "#000000", "#C44E52", "#7B3FA0"


class Count:
    """All that was counted, whatever the number of fields.

    Parameters
    ----------
    meta : mapping
        Of the model: `classes` and, for corrected shares, `learnt_shares`.
    doubtful : str
        Of `DOUBTFUL`: unsure cells are a row of their own, are left out of the shares, or are
        shared out among the kinds by their probabilities.
    rebalance : bool
        Whether shares are corrected for the class balance of the training, too.

    Raises
    ------
    HematoVisionError
        Where the correction is wanted of a model that does not tell its class balance.
    """

    def __init__(
        self, meta: Mapping[str, Any], *, doubtful: str = APART, rebalance: bool = False
    ) -> None:
        self.classes = list(meta["classes"])
        self.doubtful, self.learnt = doubtful, None
        if rebalance:
            if LEARNT_SHARES not in meta:
                raise HematoVisionError(
                    "expected a model that tells the class balance of its training, but this one "
                    "does not: leave --rebalance out, or take the shipped model"
                )
            self.learnt = np.array([meta[LEARNT_SHARES][name] for name in self.classes])
        self.sure: Counter = Counter()
        self.statuses: Counter = Counter()
        self.found: Counter = Counter()
        self.shapes: Counter = Counter()
        self.fields: dict[str, dict[str, Any]] = {}
        self.unsure_probs: list[list[float]] = []
        self.white_probs: list[list[float]] = []

    @property
    def needs_probabilities(self) -> bool:
        """Whether the table's columns do not suffice to count on from."""
        return self.learnt is not None or self.doubtful == SHARED_OUT

    @property
    def unreadable(self) -> int:
        """Fields that could not be read."""
        return sum(field["status"] == UNREADABLE for field in self.fields.values())

    def add(self, field: CountedField) -> None:
        """Take in a field."""
        own = Counter(row["kind"] for row in field.rows)
        self.found += own
        facts: dict[str, Any] = {kind: own[kind] for kind in (WHITE, RED, PLATELET)}
        shapes = Counter(row["predicted"] for row in field.rows if row["kind"] == RED)
        facts["shapes"] = {name: count for name, count in sorted(shapes.items()) if name}
        self.fields[field.path] = {**facts, "doubts": field.doubts, "status": field.status}
        for row in field.rows:
            if row["kind"] == RED and row["predicted"]:
                self.shapes[row["predicted"] if row["status"] == OK else UNSURE] += 1
            if row["kind"] != WHITE:
                continue
            self.statuses[row["status"]] += 1
            if row["status"] == OK:
                self.sure[row["predicted"]] += 1
            if self.needs_probabilities and row["status"] != NOT_A_CELL:
                probs = [row[name] for name in prob_columns(self.classes)]
                self.white_probs.append(probs)
                if row["status"] == UNSURE:
                    self.unsure_probs.append(probs)

    def findings_in(self, field: CountedField) -> Iterator[str]:
        """Yield a line on each cell that does not belong in the blood of an adult."""
        for row in field.rows:
            if row["kind"] == WHITE and row["predicted"] in FINDINGS:
                yield (
                    f"finding: {FINDINGS[row['predicted']]} ({row['confidence']:.2f}, "
                    f"{row['status']}) at {(row['xmin'] + row['xmax']) / 2:.0f}, "
                    f"{(row['ymin'] + row['ymax']) / 2:.0f} of {field.path}: have it looked at; "
                    "this is no diagnosis"
                )

    def counts(self) -> dict[str, float]:
        """Return the cells that the differential shares in, by kind."""
        kinds = [name for name in self.classes if name not in NO_WHITE_CELLS]
        counts: dict[str, float] = {kind: self.sure[kind] for kind in kinds}
        if self.doubtful == APART:
            counts[UNSURE] = self.statuses[UNSURE]
        elif self.doubtful == SHARED_OUT:
            for probs in self.unsure_probs:
                for name, share in zip(self.classes, probs, strict=True):
                    if name in counts:
                        counts[name] += share
        return counts

    def facts(self) -> dict[str, Any]:
        """Return the counts with their limits, as `--json` writes them."""
        whites = differential(self.counts())
        if self.learnt is not None and self.white_probs:
            corrected = rebalanced(np.array(self.white_probs), self.learnt)
            for index, name in enumerate(self.classes):
                if name in whites:
                    own = {end: float(values[index]) for end, values in corrected.items()}
                    whites[name]["rebalanced"] = own
        apart = {status: self.statuses[status] for status in (UNSURE, NOT_A_CELL)}
        apart |= {name: self.sure[name] for name in NO_WHITE_CELLS if name in self.classes}
        n_white = self.found[WHITE] - self.statuses[NOT_A_CELL]
        return {
            "fields": len(self.fields) - self.unreadable,
            "unreadable": self.unreadable,
            "cells": {kind: self.found[kind] for kind in (WHITE, RED, PLATELET)},
            "doubtful": self.doubtful,
            "differential": whites,
            "apart": apart,
            "ratios": {
                "white_per_red": ratio(n_white, self.found[RED]),
                "platelets_per_red": ratio(self.found[PLATELET], self.found[RED]),
            },
            "shapes": differential(dict(sorted(self.shapes.items()))),
            "by_field": self.fields,
        }

    def text(self) -> str:
        """Return what is printed."""
        from rich.console import Console
        from rich.table import Table

        facts = self.facts()
        cells = facts["cells"]
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("kind")
        names = ["cells", "share, %", "95 % limits"]
        names += ["corrected, %", "95 % limits"] if self.learnt is not None else []
        for name in names:
            table.add_column(name, justify="right")
        for kind, row in facts["differential"].items():
            count = f"{row['count']:.1f}" if self.doubtful == SHARED_OUT else f"{row['count']:,}"
            figures = [count, *_in_percent(row)]
            if self.learnt is not None:
                figures += _in_percent(row.get("rebalanced", {"share": None}))
            table.add_row(kind, *figures)
        console = Console(highlight=False, width=79, force_jupyter=False)
        with console.capture() as capture:
            console.print(
                f"{facts['fields']:,} fields: {cells[WHITE]:,} white cells, {cells[RED]:,} red "
                f"cells, {cells[PLATELET]:,} platelets"
            )
            console.print(table)
        return "\n".join([capture.get().rstrip("\n"), *self._remarks(facts)])

    def _remarks(self, facts: Mapping[str, Any]) -> Iterator[str]:
        named = {UNSURE: "unsure", NOT_A_CELL: "not a cell", **FINDINGS, "platelet": "platelet"}
        hidden = (UNSURE,) if self.doubtful == APART else ()
        apart = [
            f"{count:,} {named[name]}"
            for name, count in facts["apart"].items()
            if count and name not in hidden
        ]
        if apart:
            yield f"counted apart: {', '.join(apart)}"
        for name, what, unit in (
            ("white_per_red", "white cells", 1000),
            ("platelets_per_red", "platelets", 100),
        ):
            found = facts["ratios"][name]
            if found["value"] is not None:
                low, high = (
                    "∞" if found[end] is None else f"{unit * found[end]:.1f}"
                    for end in ("low", "high")
                )
                value = f"{unit * found['value']:.1f} ({low} to {high})"
                yield f"{what} per {unit:,} red cells: {value}, no concentration"
        if facts["shapes"]:
            shares = ", ".join(
                "{} {} ({})".format(name, *_in_percent(row))
                for name, row in facts["shapes"].items()
            )
            yield f"shapes of {self.shapes.total():,} whole red cells, in %: {shares}"
        total = sum(row["count"] for row in facts["differential"].values())
        if total < ENOUGH:
            yield f"{total:.0f} white cells are few: count {ENOUGH} or more"


def _in_percent(row: Mapping[str, float | None]) -> list[str]:
    if row["share"] is None:
        return ["", ""]
    return [f"{100 * row['share']:.1f}", f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"]


def draw_field(field: CountedField, path: Path) -> None:
    """Outline the cells of a field and write it as PNG: white ones named, in their colours.

    Parameters
    ----------
    field : CountedField
        Without cells nothing but the field is written; of one that cannot be read, nothing.
    path : Path
    """
    from PIL import Image, ImageDraw, ImageFont

    if field.status == UNREADABLE:
        return
    image = Image.fromarray(read_image(field.path))
    wide = max(1, round(max(image.size) / 500))
    font = ImageFont.load_default(max(11, round(max(image.size) / 45)))
    draw = ImageDraw.Draw(image)
    for row in field.rows[::-1]:  # white cells come first and lie on top
        box = [row[name] for name in ("xmin", "ymin", "xmax", "ymax")]
        if row["kind"] != WHITE:
            colour = RED_LINE if row["kind"] == RED else PLATELET_LINE
            draw.rectangle(box, outline=colour, width=wide)
            continue
        colour = COLOURS.get(row["predicted"], OTHER_WHITE)
        draw.rectangle(box, outline=colour, width=2 * wide)
        name = row["predicted"] or "not a cell"
        name += "" if row["status"] in (OK, NOT_A_CELL) else " ?"
        _label(draw, name, box, colour, font, image.size)
    with atomic_path(path) as temporary:
        image.save(temporary)


def _label(draw, name: str, box, colour: str, font, size: tuple[int, int]) -> None:
    """Write a cell's name above its box, or within where there is no room above."""
    left, _, right, bottom = draw.textbbox((0, 0), name, font=font)
    high = bottom + 4
    x = min(max(box[0], 0), size[0] - (right - left) - 4)
    y = box[1] - high if box[1] >= high else box[1]
    draw.rectangle([x, y, x + right + 4, y + high], fill=colour)
    draw.text((x + 2, y + 1), name, font=font, fill="white")
