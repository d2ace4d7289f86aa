"""Sheets for exercises on paper: cells without their names, a field to be counted, and the keys."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from hv_utils.drawn.sheet import SIDE
from hv_utils.drawn.smear import draw_photo
from hv_utils.drawn.variants import LOOK_ALIKES, TYPICAL, draw_variant
from hv_utils.images.labels import CLASSES
from hv_utils.images.voc import PLATELETS, RED_CELL

PER_CLASS, PER_ROW = 3, 4
GAP = 12  # pixels of white between two cells
FIELD_SEED = 20
CONTACT_CELLS, CONTACT_PER_ROW, CONTACT_SIDE, CONTACT_SEED = 40, 6, 200, 40
AT_LEAST = 6  # of each class on the contact sheet; nobody is told how many
LINE_HEIGHT, MARGIN = 44, 50  # pixels: of the line to write on, and around the sheet
A4 = 297 / 210
INK = (0, 0, 0)


@dataclass(frozen=True)
class Sheet:
    """A picture to be printed and what there is to see in it.

    Attributes
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        Without a word on it that tells.
    key : pandas.DataFrame
        What is right; to be kept from the class.
    """

    image: np.ndarray
    key: pd.DataFrame

    @property
    def png(self) -> bytes:
        """The picture as a file."""
        return cv2.imencode(".png", np.ascontiguousarray(self.image[..., ::-1]))[1].tobytes()


def naming_sheet(*, seed: int = 0) -> Sheet:
    """Draw twelve textbook cells, three of each class, numbered and in random order.

    Parameters
    ----------
    seed : int
        Draws the cells and their order.

    Returns
    -------
    Sheet
        Its key has the columns `number`, from 1, and `class`.
    """
    order = np.random.default_rng(seed).permutation(np.repeat(CLASSES, PER_CLASS))
    cells = []
    for number, label in enumerate(order, start=1):
        rng = np.random.default_rng((seed, number))
        image = draw_photo(label, rng=rng, size=(SIDE, SIDE), variant=TYPICAL).image
        cells.append(_numbered(image, number))
    rows = [np.hstack(cells[at : at + PER_ROW]) for at in range(0, len(cells), PER_ROW)]
    key = pd.DataFrame({"number": np.arange(1, len(order) + 1), "class": [*map(str, order)]})
    return Sheet(np.vstack(rows), key)


def contact_sheet(*, seed: int = CONTACT_SEED) -> Sheet:
    """Draw forty cells on a sheet of A4, numbered, each with a line to write on.

    Textbook cells and their look-alikes, these at the rates of the demo; the classes are not
    equally many.

    Parameters
    ----------
    seed : int
        Draws the classes, the cells and their order.

    Returns
    -------
    Sheet
        Its key has the columns `number`, from 1, `class`, `variant` and `told_by`: what decides
        about a look-alike.
    """
    rng = np.random.default_rng(seed)
    sure = np.repeat(CLASSES, AT_LEAST)
    labels = rng.permutation([*sure, *rng.choice(CLASSES, CONTACT_CELLS - len(sure))])
    marks = {(one.label, one.variant): one.told_by for one in LOOK_ALIKES}
    cells, rows = [], []
    for number, label in enumerate(map(str, labels), start=1):
        own = np.random.default_rng((seed, number))
        variant = draw_variant(label, own)
        image = draw_photo(label, rng=own, size=(SIDE, SIDE), variant=variant).image
        small = cv2.resize(image, (CONTACT_SIDE, CONTACT_SIDE), interpolation=cv2.INTER_AREA)
        cells.append(_with_line(_numbered(small, number)))
        told_by = marks.get((label, variant), "")
        rows.append({"number": number, "class": label, "variant": variant, "told_by": told_by})
    return Sheet(_on_a4(cells), pd.DataFrame(rows))


def _with_line(cell: np.ndarray) -> np.ndarray:
    strip = np.full((LINE_HEIGHT, cell.shape[1], 3), 255, np.uint8)
    at = LINE_HEIGHT - 10
    cv2.line(strip, (GAP, at), (cell.shape[1] - GAP, at), INK, 2)
    return np.vstack([cell, strip])


def _on_a4(cells: list[np.ndarray]) -> np.ndarray:
    height, width = cells[0].shape[:2]
    across = CONTACT_PER_ROW * width + 2 * MARGIN
    sheet = np.full((round(A4 * across), across, 3), 255, np.uint8)
    n_rows = -(-len(cells) // CONTACT_PER_ROW)
    top = sheet.shape[0] - MARGIN - n_rows * height
    words = "Name: _________________________    E, L, M or N?    Drawn cells. Not for diagnosis."
    cv2.putText(sheet, words, (MARGIN + GAP, top - 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, INK, 2)
    for number, cell in enumerate(cells):
        y = top + number // CONTACT_PER_ROW * height
        x = MARGIN + number % CONTACT_PER_ROW * width
        sheet[y : y + height, x : x + width] = cell
    return sheet


def _numbered(image: np.ndarray, number: int) -> np.ndarray:
    framed = cv2.copyMakeBorder(image, GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=(255,) * 3)
    corner = (GAP + 8, GAP + 28)
    for colour, width in (((255, 255, 255), 5), ((0, 0, 0), 2)):
        cv2.putText(framed, str(number), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.9, colour, width)
    return framed


def counting_field(*, seed: int = FIELD_SEED) -> Sheet:
    """Draw a field whose red cells and platelets are to be counted.

    Parameters
    ----------
    seed : int

    Returns
    -------
    Sheet
        Its key has the columns `kind` (`red`, `platelets`) and `count`: those of which more than
        a third lies in the picture.
    """
    photo = draw_photo(CLASSES[-1], rng=np.random.default_rng(seed), variant=TYPICAL)
    names = [box.name for box in photo.boxes]
    counts = {"red": names.count(RED_CELL), "platelets": names.count(PLATELETS)}
    return Sheet(photo.image, pd.DataFrame({"kind": [*counts], "count": [*counts.values()]}))


def sheets() -> dict[str, Sheet]:
    """Return the sheets by the name of their picture.

    The first two belong to `book/exercises/paper.md`, the last is a page by itself.
    """
    return {"cells": naming_sheet(), "field": counting_field(), "contact": contact_sheet()}
