"""Sheets for exercises on paper: cells without their names, a field to be counted, and the keys."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from hv_utils.drawn.sheet import SIDE
from hv_utils.drawn.smear import draw_photo
from hv_utils.drawn.variants import TYPICAL
from hv_utils.images.labels import CLASSES
from hv_utils.images.voc import PLATELETS, RED_CELL

PER_CLASS, PER_ROW = 3, 4
GAP = 12  # pixels of white between two cells
FIELD_SEED = 20


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
    """Return the sheets of `book/exercises/paper.md` by the name of their picture."""
    return {"cells": naming_sheet(), "field": counting_field()}
