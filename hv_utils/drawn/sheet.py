"""A sheet of drawn cells with their names: textbook cells, and beside them their look-alikes."""

from __future__ import annotations

import numpy as np

from hv_utils.drawn.smear import draw_photo
from hv_utils.drawn.variants import LOOK_ALIKES, TYPICAL

SIDE = 280
"""Side of a picture in pixels of a photo: twenty micrometres, which holds the largest cell."""


def look_alike_sheet(
    *, seed: int = 0, per_row: int = 2, side: int = SIDE
) -> tuple[list[np.ndarray], list[str]]:
    """Draw each look-alike between its own class and the class that it is taken for.

    Parameters
    ----------
    seed : int
        Draws the cells.
    per_row : int
        Cells of each of the three.
    side : int
        Height and width of each picture, pixels at `labels.MICROMETRES_PER_PIXEL`.

    Returns
    -------
    images : list of numpy.ndarray, shape (side, side, 3), uint8
        A row of 3 `per_row` pictures for each of `variants.LOOK_ALIKES`: textbook cells of its
        class, the look-alike, textbook cells of the class that it resembles.
    captions : list of str
        Two lines for each: the class and its variant, or a variant of two words.
    """
    images, captions = [], []
    for row, one in enumerate(LOOK_ALIKES):
        drawn = [(one.label, TYPICAL), (one.label, one.variant), (one.resembles, TYPICAL)]
        for place, (label, variant) in enumerate(drawn):
            name = "textbook" if variant == TYPICAL else variant
            caption = name.replace(" ", "\n") if " " in name else f"{label}\n{name}"
            for number in range(per_row):
                rng = np.random.default_rng((seed, row, place, number))
                images.append(draw_photo(label, rng=rng, size=(side, side), variant=variant).image)
                captions.append(caption)
    return images, captions
