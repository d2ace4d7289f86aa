"""One palette and one style for every figure.

Colours are those of Okabe and Ito, which readers with any common colour blindness can tell apart;
markers, hatches and line styles go with them, so that no figure relies on colour alone.
"""

import sys
from collections.abc import Iterable
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from hv_utils.images.labels import COLOURS as PALETTE
from hv_utils.images.voc import PLATELETS, RED_CELL, WHITE_CELL

NEUTRAL = "#6B7280"
RIGHT, WRONG = "#0072B2", "#D55E00"
_SPARE = ("#E69F00", "#56B4E9", "#000000", "#F0E442", "#999999")
_MARKERS = "osD^vPX*<>"
BOX_COLOURS = {WHITE_CELL: "#0072B2", RED_CELL: "#D55E00", PLATELETS: "#000000"}
SPLIT_HATCHES = {"train": "", "val": "//", "test": "..", "simple": "xx"}
WIDTH = 6.0  # inches: with this lettering still readable on a screen of 400 pixels
STYLE = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "figure.facecolor": "white",
}


def palette(classes: Iterable[str]) -> dict[str, str]:
    """Give each class its colour, the same in every figure.

    Parameters
    ----------
    classes : iterable of str
        Class names; those of `PALETTE` keep their colour, others take the spare ones in turn.

    Returns
    -------
    dict of str to str
        Hexadecimal colour of each class, in the order given.
    """
    classes = list(dict.fromkeys(classes))
    taken = {PALETTE[name] for name in classes if name in PALETTE}
    others = [name for name in classes if name not in PALETTE]
    spare = [colour for colour in _SPARE if colour not in taken][: len(others)]
    missing = len(others) - len(spare)
    # Past the eight colours that stay apart there is no good choice: spread over the hues.
    spare += [
        matplotlib.colors.to_hex(matplotlib.colormaps["turbo"](at))
        for at in np.linspace(0.05, 0.95, missing)
    ]
    extra = dict(zip(others, spare, strict=True))
    return {name: PALETTE.get(name) or extra[name] for name in classes}


def markers(classes: Iterable[str]) -> dict[str, str]:
    """Give each class a marker shape, so that no figure relies on colour alone."""
    return {name: _MARKERS[i % len(_MARKERS)] for i, name in enumerate(dict.fromkeys(classes))}


def sharp_in_notebooks() -> None:
    """Have a notebook show its figures at twice the resolution; do nothing elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        from matplotlib_inline.config import InlineBackend

        InlineBackend.instance(parent=shell).figure_formats = {"retina"}
        shell.display_formatter.formatters["image/png"].for_type(Figure, _shown)


def _shown(figure: Figure) -> Any:
    """Return what a notebook shows: the file that `Run.write_figure` has made, where it has."""
    from IPython.core.pylabtools import retina_figure
    from IPython.display import Image

    if hasattr(figure, "written"):
        return Image(data=figure.written, retina=True)._repr_png_()
    return retina_figure(figure, base64=True)


def new_figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (WIDTH, 3.6), **options: Any
) -> tuple[Figure, Any]:
    """Make a figure in the house style, with its axes.

    Parameters
    ----------
    rows, columns : int
        Number of axes down and across.
    size : tuple of float
        Width and height in inches.
    **options
        Passed to `matplotlib.pyplot.subplots`.

    Returns
    -------
    tuple of Figure and Axes
        What `pyplot.subplots` gives. The figure is closed in pyplot, so a notebook shows it once,
        where its cell names it.
    """
    sharp_in_notebooks()
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", **options)
    plt.close(fig)
    return fig, axes
