"""The classes, their order, and what a haematologist looks for in each, with references.

The facts serve twice: the demo draws its cells by them (`hv_utils.drawn.white_cell`), and the book
prints them, so that the text and the pictures cannot disagree.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import pandas as pd

from hv_utils.ground.errors import HematoVisionError

CLASSES = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
"""The four classes of the data set, in alphabetical order: the default, never a limit."""

KINDS = tuple(sorted((*CLASSES, "basophil", "erythroblast", "ig", "platelet")))
"""What the model of cells knows. Erythroblasts and immature granulocytes (`ig`: promyelocytes,
myelocytes, metamyelocytes) belong in the marrow: in the blood of an adult they are a finding. The
names are those of `acevedo2020`; the glossary tells of each."""

COLOURS = {
    "eosinophil": "#D55E00",
    "lymphocyte": "#0072B2",
    "monocyte": "#009E73",
    "neutrophil": "#CC79A7",
    "basophil": "#56B4E9",
}
"""One colour a class in every figure and overlay: of Okabe and Ito, see `figures.palette`."""

MICROMETRES_PER_PIXEL = 0.072
"""Scale of the 640x480 photos of `bccd`, if the median red-cell box (104 px) is 7.5 µm wide."""

RED_CELL_UM = (7.0, 8.0)
"""Diameter of a red cell in micrometres (`scordino2016`)."""

PLATELET_UM = (1.5, 3.0)
"""Diameter of a platelet in micrometres (`medlabs`)."""


@dataclass(frozen=True)
class Morphology:
    """What one type of white cell looks like on a Wright-Giemsa smear, and how common it is.

    Attributes
    ----------
    name : str
        The class.
    diameter_um : tuple of float
        Usual least and greatest diameter of the cell, in micrometres.
    nucleus, cytoplasm, granules : str
        Descriptions in words.
    nc_median : float
        Nucleus-to-cytoplasm ratio in the sense of this project: area of the nucleus over area of
        the whole cell, 0 to 1; the median measured on Dataset 1 of `zheng2018` (a rapid stain).
    nc_range : tuple of float or None
        10th and 90th percentile of the same; None where too few cells were measured.
    percent : tuple of float
        Reference range of the share among white cells, in per cent (`uchicago`).
    count : tuple of float
        Reference range of the absolute count, in 10⁹ per litre (`coates2020`).
    raised_by, lowered_by : str
        Common causes; "" where no source at hand gives one.
    references : tuple of str
        Keys of the bibliography.
    """

    name: str
    diameter_um: tuple[float, float]
    nucleus: str
    cytoplasm: str
    granules: str
    nc_median: float
    nc_range: tuple[float, float] | None
    percent: tuple[float, float]
    count: tuple[float, float]
    raised_by: str
    lowered_by: str
    references: tuple[str, ...]


_MEASURED = ("zheng2018", "uchicago", "coates2020")

MORPHOLOGY = {
    cell.name: cell
    for cell in (
        Morphology(
            name="basophil",
            diameter_um=(10, 14),
            nucleus="segmented, veiled by the granules",
            cytoplasm="mostly hidden",
            granules="coarse, blue-black, lying over the nucleus",
            nc_median=0.46,  # of the one basophil in the set
            nc_range=None,
            percent=(0, 2),
            count=(0.02, 0.1),
            raised_by="allergy, hypothyroidism, myeloproliferation",
            lowered_by="",
            references=("scordino2016", "sysmex", *_MEASURED),
        ),
        Morphology(
            name="eosinophil",
            diameter_um=(10, 17),
            nucleus="mostly two plump lobes joined by a filament; condensed",
            cytoplasm="hidden by the granules",
            granules="coarse, even, orange-red, filling the cytoplasm; the nucleus stays clear",
            nc_median=0.31,
            nc_range=(0.25, 0.39),
            percent=(0, 7),
            count=(0.02, 0.5),
            raised_by="parasites, allergy, drugs",
            lowered_by="",
            references=("scordino2016", "lichtman2017", *_MEASURED),
        ),
        Morphology(
            name="lymphocyte",
            diameter_um=(7, 15),
            nucleus="round, dense; no lobes",
            cytoplasm="thin blue rim",
            granules="none, or few and violet",
            nc_median=0.61,
            nc_range=(0.51, 0.70),
            percent=(16, 47),
            count=(1.0, 3.0),
            raised_by="mononucleosis, chronic lymphocytic leukaemia",
            lowered_by="HIV, immunosuppression, lupus",
            references=("who2003", "bain2017", "acutemed5", *_MEASURED),
        ),
        Morphology(
            name="monocyte",
            diameter_um=(12, 24),
            nucleus="folded, kidney- or horseshoe-shaped; lacy chromatin",
            cytoplasm="grey-blue, often with vacuoles",
            granules="fine as dust, violet",
            nc_median=0.52,
            nc_range=(0.45, 0.58),
            percent=(4, 12),
            count=(0.2, 1.0),
            raised_by="infection, chronic myelomonocytic leukaemia, metastasis",
            lowered_by="",
            references=("bain2017", "lichtman2017", "acutemed5", *_MEASURED),
        ),
        Morphology(
            name="neutrophil",
            diameter_um=(12, 15),
            nucleus="two to five lobes joined by thin filaments; clumped chromatin",
            cytoplasm="pale pink",
            granules="fine, lilac, barely resolved",
            nc_median=0.33,
            nc_range=(0.28, 0.40),
            percent=(39, 75),
            count=(2.0, 7.0),
            raised_by="sepsis, steroids, smoking",
            lowered_by="chemotherapy, viruses, lack of vitamin B12",
            references=("scordino2016", "sysmex", "lichtman2017", "acutemed5", *_MEASURED),
        ),
    )
}
"""The types of white cell by name: those of `CLASSES` and the basophil, which lies outside them."""

_BY_LABEL = {name.upper(): name for name in MORPHOLOGY}
_BY_LABEL |= {name.upper(): name for name in KINDS}
_BY_LABEL |= {f"{name.upper()}S": name for name in (*MORPHOLOGY, *KINDS)}
_BY_LABEL |= dict.fromkeys(("IMMATURE GRANULOCYTE", "IMMATURE GRANULOCYTES"), "ig")
_BY_LABEL |= dict.fromkeys(("NORMOBLAST", "NORMOBLASTS", "NRBC"), "erythroblast")


def morphology_table() -> pd.DataFrame:
    """Return the morphology as a table to show, one row per type of white cell.

    Returns
    -------
    pandas.DataFrame
        Index `cell`; columns of text, in which ranges are written out, and `references`, the keys
        of the bibliography separated by commas.
    """
    return pd.DataFrame([_row(cell) for cell in MORPHOLOGY.values()]).set_index("cell")


def _row(cell: Morphology) -> dict[str, str]:
    ratio = f"{cell.nc_median:.2f}"
    if cell.nc_range:
        ratio += f" [{cell.nc_range[0]:.2f}–{cell.nc_range[1]:.2f}]"
    return {
        "cell": cell.name,
        "diameter (µm)": _range(cell.diameter_um),
        "nucleus": cell.nucleus,
        "cytoplasm": cell.cytoplasm,
        "granules": cell.granules,
        "nucleus / cell area": ratio,
        "share (%)": _range(cell.percent),
        "count (10⁹/L)": _range(cell.count),
        "raised by": cell.raised_by,
        "lowered by": cell.lowered_by,
        "references": ", ".join(cell.references),
    }


def _range(pair: tuple[float, float]) -> str:
    return f"{pair[0]:g}–{pair[1]:g}"


def normalise_label(text: str) -> str:
    """Return a class name in the project's spelling: lower case, single, without blanks around.

    Parameters
    ----------
    text : str
        A folder's name or an entry of a label file, such as `"EOSINOPHIL"` or `"Monocytes"`.

    Returns
    -------
    str
        The class name. Names that are in no table pass, in lower case, since other classes are
        welcome; runs of blanks become one.

    Raises
    ------
    HematoVisionError
        Where there is no text.

    Examples
    --------
    >>> normalise_label(" EOSINOPHIL")
    'eosinophil'
    >>> normalise_label("Red  cell")
    'red cell'
    """
    words = " ".join(unicodedata.normalize("NFC", str(text)).split())
    if not words:
        raise HematoVisionError(
            "expected the name of a class, but it is blank: "
            "the label is missing in the file; leave the row out or fill it in"
        )
    return _BY_LABEL.get(words.upper(), words.lower())
