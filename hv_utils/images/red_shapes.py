"""The shapes of red cells, what they look like and what they can mean, with references.

The names are those of `naruenatthanaset2021`, in their order; the terms and when a shape is worth
reporting follow `palmer2015`, what it is seen in `bain2017`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class RedShape:
    """One shape of red cells.

    Attributes
    ----------
    name : str
    look : str
        What tells it from the others.
    seen_in : str
        Common causes; also of the preparation, where it can make such cells.
    """

    name: str
    look: str
    seen_in: str


SHAPES = (
    RedShape("normal", "a disc with a pale middle of about a third", "healthy blood"),
    RedShape(
        "macrocyte",
        "wider than normal, round or oval",
        "lack of vitamin B12 or folate, liver disease, alcohol",
    ),
    RedShape("microcyte", "smaller than normal", "iron deficiency, thalassaemia"),
    RedShape(
        "spherocyte",
        "dense and round, without a pale middle",
        "hereditary spherocytosis, immune haemolysis; the thin end of a film",
    ),
    RedShape(
        "target-cell",
        "a dark spot in the pale middle",
        "liver disease, thalassaemia, haemoglobin C, after the spleen was removed",
    ),
    RedShape(
        "stomatocyte",
        "the pale middle is a slit",
        "alcohol, liver disease, hereditary forms; slow drying",
    ),
    RedShape(
        "ovalocyte",
        "egg-shaped, less than twice as long as wide",
        "megaloblastic anaemia, iron deficiency, South-East Asian ovalocytosis",
    ),
    RedShape(
        "teardrop",
        "one tail",
        "fibrosis of the marrow, thalassaemia; the making of the film, if all tails point one way",
    ),
    RedShape(
        "burr-cell",
        "short even spikes all around",
        "kidney failure; blood that has stood for long",
    ),
    RedShape(
        "schistocyte",
        "a fragment: a helmet, a triangle, horns",
        "microangiopathy, which is urgent; artificial valves, burns",
    ),
    RedShape(
        "hypochromic", "the pale middle is more than a third", "iron deficiency, thalassaemia"
    ),
    RedShape(
        "elliptocyte",
        "a cigar, at least twice as long as wide",
        "hereditary elliptocytosis, iron deficiency",
    ),
)
RED_KINDS = tuple(shape.name for shape in SHAPES)
RED_UNSORTED = "uncategorised"
"""What that set calls a red cell of no kind."""


def shape_table() -> pd.DataFrame:
    """Return the facts, a row a shape."""
    rows = {shape.name: {"look": shape.look, "seen in": shape.seen_in} for shape in SHAPES}
    return pd.DataFrame(rows).T
