"""What is drawn beside textbook cells: the look-alikes of each class, and how often.

A class of textbook cells would be learnt from three of them. What makes white cells hard are those
that borrow the marks of another class (`lichtman2017`, `medlabs`; which mark decides is written
beside each). The demo draws them at the rates below and records the variant of every cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hv_utils.images.labels import CLASSES

TYPICAL = "typical"
"""The variant of a textbook cell."""


@dataclass(frozen=True)
class LookAlike:
    """A variant of one class that borrows the marks of another.

    Attributes
    ----------
    label : str
        The class that the cell belongs to.
    variant : str
        Its name.
    share : float
        Share of the class's cells that are drawn so, 0 to 1.
    resembles : str
        The class that it is easily taken for.
    told_by : str
        What decides.
    """

    label: str
    variant: str
    share: float
    resembles: str
    told_by: str


LOOK_ALIKES = (
    LookAlike(
        label="eosinophil",
        variant="hypogranular",
        share=0.20,
        resembles="neutrophil",
        told_by="patches are bared, but where granules are left they are coarse and orange-red",
    ),
    LookAlike(
        label="lymphocyte",
        variant="reactive",
        share=0.20,
        resembles="monocyte",
        told_by="blue cytoplasm, darker at the rim; a nucleus without a fold",
    ),
    LookAlike(
        label="monocyte",
        variant="round nucleus",
        share=0.15,
        resembles="lymphocyte",
        told_by="lacy chromatin; grey, dusty cytoplasm",
    ),
    LookAlike(
        label="monocyte",
        variant="horseshoe nucleus",
        share=0.15,
        resembles="neutrophil",
        told_by="grey-blue cytoplasm, lacy chromatin",
    ),
    LookAlike(
        label="neutrophil",
        variant="band",
        share=0.10,
        resembles="monocyte",
        told_by="pink cytoplasm, dense chromatin",
    ),
    LookAlike(
        label="neutrophil",
        variant="toxic granulation",
        share=0.15,
        resembles="eosinophil",
        told_by="granules are violet and uneven; several lobes on thin filaments",
    ),
)
"""The look-alikes with their rates; what is left of each class is `TYPICAL`."""


def shares_of(label: str) -> dict[str, float]:
    """Return each variant of a class with its share of the class's cells, `TYPICAL` first."""
    alike = {one.variant: one.share for one in LOOK_ALIKES if one.label == label}
    return {TYPICAL: 1 - sum(alike.values()), **alike}


def draw_variant(label: str, rng: np.random.Generator) -> str:
    """Draw a variant of a class at its rate."""
    shares = shares_of(label)
    return str(rng.choice(list(shares), p=list(shares.values())))


def quotas(label: str, n: int) -> list[str]:
    """Return the variants of `n` cells of a class, as near to the rates as whole cells can be.

    Drawn one by one, a handful of cells would hold no look-alike at one seed and three at the next.
    """
    wanted = {name: share * n for name, share in shares_of(label).items()}
    counts = {name: int(count) for name, count in wanted.items()}
    by_rest = sorted(wanted, key=lambda name: counts[name] - wanted[name])
    for name in by_rest[: n - sum(counts.values())]:
        counts[name] += 1
    return [name for name, count in counts.items() for _ in range(count)]


def look_alike_table(classes: Iterable[str] = CLASSES) -> pd.DataFrame:
    """Return the look-alikes as a table to show, one row each.

    Returns
    -------
    pandas.DataFrame
        Columns `class`, `drawn as`, `share of the class`, `easily taken for`, `told by`.
    """
    rows = [one for one in LOOK_ALIKES if one.label in set(classes)]
    return pd.DataFrame(
        {
            "class": [one.label for one in rows],
            "drawn as": [one.variant for one in rows],
            "share of the class": [one.share for one in rows],
            "easily taken for": [one.resembles for one in rows],
            "told by": [one.told_by for one in rows],
        }
    )
