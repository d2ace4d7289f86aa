"""The plan of a demo: what is drawn on each photo, what is written down, and where its copies go.

The lessons are laid out here. Few cells of each class and many copies of each, so that a split
that parts copies of one cell leaks; look-alikes at fixed rates in TRAIN and in TEST; fields that
were photographed twice, one photo on each side; a few labels that are wrong; and rows of the
table that name no cell, or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hv_utils.drawn.variants import TYPICAL, quotas

DOUBTFUL = ("blank", "several", "blank", "several")
"""Rows of the table of labels that name no cell, or two: no copies are made of these."""

TWIN_SHARE = 0.05
"""Share of the photos that show the field of another photo again, rounded down."""

WRONG_SHARE = 0.04
"""Share of the photos whose label is wrong, rounded down."""

SPARED = 4
"""Cells that a class must have in a part for one of them to get a twin or a wrong label."""

SLIPS = (
    ("lymphocyte", "eosinophil", "TRAIN"),
    ("eosinophil", "monocyte", "TEST"),
    ("neutrophil", "lymphocyte", "TRAIN"),
)
"""Wrong labels in the order in which they are planted: the label, what is drawn, and the part."""


@dataclass(frozen=True)
class Planned:
    """One photo of the demo.

    Attributes
    ----------
    label : str
        The class that the table of labels and the folders of the copies name.
    drawn_as : str
        The class that is drawn: another one where the label is wrong.
    variant : str
        See `variants`.
    part : str
        `TRAIN` or `TEST`; "" for a doubtful row.
    doubt : str
        One of `DOUBTFUL`, or "".
    field : int
        The same for two photos of one field, and for no others.
    """

    label: str
    drawn_as: str
    variant: str
    part: str
    doubt: str
    field: int


def plan_photos(
    photos: Mapping[str, int], *, test_fraction: float, rng: np.random.Generator
) -> list[Planned]:
    """Lay out the photos of a demo, in an order that tells nothing.

    Parameters
    ----------
    photos : mapping of str to int
        Photos labelled with each class.
    test_fraction : float
        Share of each class's photos that go to TEST, at least two photos.
    rng : numpy.random.Generator
        Draws the order, and which photos have a twin or a wrong label.

    Returns
    -------
    list of Planned
        The photos, and one more for each of `DOUBTFUL`. Twins and wrong labels are the more the
        more photos there are; a dozen photos hold none.
    """
    planned: list[Planned] = []
    for label, n in photos.items():
        held_out = max(2, round(test_fraction * n))
        for part, count in (("TRAIN", n - held_out), ("TEST", held_out)):
            planned += [
                Planned(label, label, variant, part, "", 0) for variant in quotas(label, count)
            ]
    planned = [replace(one, field=field) for field, one in enumerate(planned)]
    total = len(planned)
    slips = [slip for slip in SLIPS if {*slip[:2]} <= set(photos)][: int(WRONG_SHARE * total)]
    for label, drawn_as, part in slips:
        for at in _untouched(planned, label, part):
            planned[at] = replace(planned[at], drawn_as=drawn_as)
    for label in sorted(photos, key=lambda name: -photos[name])[: int(TWIN_SHARE * total)]:
        pairs = zip(*(_untouched(planned, label, part) for part in ("TRAIN", "TEST")), strict=False)
        for first, second in pairs:
            planned[second] = replace(planned[second], field=planned[first].field)
    for turn, doubt in enumerate(DOUBTFUL):
        label = str(rng.choice(list(photos)))
        planned.append(Planned(label, label, TYPICAL, "", doubt, total + turn))
    return [planned[index] for index in rng.permutation(len(planned))]


def _untouched(planned: list[Planned], label: str, part: str) -> list[int]:
    """Return the position of a textbook cell that has neither a twin nor a wrong label.

    A list of one; empty where the part has so few cells of the class that none can be spared.
    """
    fields = [one.field for one in planned]
    mine = [at for at, one in enumerate(planned) if (one.label, one.part) == (label, part)]
    untouched = [
        at
        for at in mine
        if (planned[at].drawn_as, planned[at].variant) == (label, TYPICAL)
        and fields.count(planned[at].field) == 1
    ]
    return untouched[:1] if len(mine) >= SPARED else []
