"""Figures of counts, distributions, named values and training curves."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hv_utils.figures.palette import (
    NEUTRAL,
    PALETTE,
    RIGHT,
    SPLIT_HATCHES,
    WIDTH,
    new_figure,
    palette,
)
from hv_utils.ground.errors import HematoVisionError


def class_counts(table: pd.DataFrame, *, by: str = "split", unit: str = "images") -> Figure:
    """Draw how many images each class has, in each split.

    Parameters
    ----------
    table : DataFrame
        Image table with the columns `label` and `by`.
    by : str
        Column that separates the bars of a class.
    unit : str
        What a row is, for the axis.

    Returns
    -------
    Figure
        Bars in the colour of the class, the split by hatch, the count above each bar.
    """
    counts = pd.crosstab(table["label"], table[by])
    known = [name for name in SPLIT_HATCHES if name in counts.columns]
    counts = counts[known + [name for name in counts.columns if name not in known]]
    colours = palette(counts.index)
    fig, ax = new_figure()
    width = 0.8 / len(counts.columns)
    for j, part in enumerate(counts.columns):
        at = np.arange(len(counts)) + (j - (len(counts.columns) - 1) / 2) * width
        hatch = SPLIT_HATCHES.get(part, "/\\|-+"[j % 5])
        bars = ax.bar(at, counts[part], width * 0.94, hatch=hatch, edgecolor="white", linewidth=0)
        for bar, name in zip(bars, counts.index, strict=True):
            bar.set_facecolor(colours[name])
        ax.bar_label(bars, labels=[f"{n:,}" for n in counts[part]], padding=2, fontsize=9)
    ax.set_xticks(range(len(counts)), counts.index)
    ax.set_ylabel(unit)
    ax.margins(y=0.12)
    keys = [
        Rectangle((0, 0), 1, 1, facecolor=NEUTRAL, edgecolor="white", hatch=hatch, label=part)
        for part, hatch in ((p, SPLIT_HATCHES.get(p, "")) for p in counts.columns)
    ]
    if len(counts.columns) > 1:
        ax.legend(
            handles=keys, ncols=len(keys), loc="lower right", bbox_to_anchor=(1, 1), frameon=False
        )
    return fig


def histograms(
    values: pd.DataFrame, x: str, *, by: str | None = "label", xlabel: str, bins: int = 30
) -> Figure:
    """Draw the distribution of one measured column, class by class.

    Parameters
    ----------
    values : DataFrame
        One row an image, with the columns `x` and `by`.
    x : str
        The measured column, for example brightness or width.
    by : str or None
        Column of groups; None draws all rows as one.
    xlabel : str
        Axis label with its unit.
    bins : int
        Number of bins, the same for every group.

    Returns
    -------
    Figure
        Outlines, each group as share of its own rows, so that classes of different size compare.
    """
    import seaborn as sns

    fig, ax = new_figure(size=(WIDTH, 3.2))
    common = {"data": values, "x": x, "bins": bins, "stat": "percent", "element": "step", "ax": ax}
    if by is None:
        sns.histplot(**common, color=NEUTRAL, alpha=0.35)
    else:
        colours = palette(sorted(values[by].unique()))
        sns.histplot(
            **common, hue=by, hue_order=list(colours), palette=colours, common_norm=False, alpha=0.1
        )
        if ax.get_legend() is not None:
            ax.get_legend().set(title=None, frame_on=False)
    ax.set(xlabel=xlabel, ylabel="share of its images (%)" if by else "share of images (%)")
    return fig


def bars(
    values: Mapping[str, float],
    *,
    xlabel: str,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    reference: float | None = None,
    reference_label: str = "",
    colours: Mapping[str, str] | None = None,
    digits: int = 2,
) -> Figure:
    """Draw one bar for each named value, with its interval where there is one.

    Parameters
    ----------
    values : mapping of str to float
        Top to bottom.
    xlabel : str
        What is measured, with its unit.
    intervals : mapping of str to (low, high), optional
        Ends of the interval of some or all values.
    reference : float, optional
        A value to compare with, as a dashed line.
    reference_label : str
        Name of that line.
    colours : mapping of str to str, optional
        Colour of each bar; by default that of the class of this name, or grey.
    digits : int
        Decimals of the number beside each bar.

    Returns
    -------
    Figure
        Horizontal bars, so that long names stay readable.
    """
    names = list(values)
    colours = colours or {}
    shades = [colours.get(name) or PALETTE.get(name, NEUTRAL) for name in names]
    fig, ax = new_figure(size=(WIDTH, 0.9 + 0.42 * len(names)))
    ax.barh(range(len(names)), [values[n] for n in names], color=shades, height=0.62)
    ends = []
    for at, name in enumerate(names):
        low, high = (intervals or {}).get(name, (values[name], values[name]))
        if high > low:
            ax.plot([low, high], [at, at], color="black", lw=1.6, marker="|", ms=9, mew=1.6)
        ends.append(max(high, values[name], 0))
    span = max([*ends, reference or 0]) or 1
    for at, (name, end) in enumerate(zip(names, ends, strict=True)):
        word = f"{values[name]:,.{digits}f}"
        plain = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the dashed line
        ax.text(end + 0.015 * span, at, word, va="center", fontsize=9, bbox=plain, zorder=3)
    if reference is not None:
        ax.axvline(reference, color="black", ls="--", lw=1.2, label=reference_label)
        if reference_label:
            ax.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel(xlabel)
    ax.set_xlim(min([0, *values.values()]), span * 1.12)
    return fig


def training_curves(history: pd.DataFrame, *, metrics: Sequence[str] | None = None) -> Figure:
    """Draw loss and scores over the epochs, for training and validation.

    Parameters
    ----------
    history : DataFrame
        One row an epoch: columns such as `loss`, `val_loss`, `accuracy`, `val_accuracy`; `phase`,
        where there is one, names the training phase.
    metrics : sequence of str, optional
        Columns to draw, without `val_`; by default loss and accuracy, where present.

    Returns
    -------
    Figure
        One panel for each metric; a dotted line where a phase ends.
    """
    names = list(metrics or [m for m in ("loss", "accuracy", "macro_f1") if _has(history, m)])
    if not names:
        raise HematoVisionError(
            "expected a history with a column such as loss or accuracy, got the columns "
            f"{list(history.columns)}: probably another table; pass that of history.csv"
        )
    epochs = np.arange(1, len(history) + 1)
    fig, axes = new_figure(1, len(names), size=(WIDTH, 3.2), squeeze=False)
    for ax, name in zip(axes.flat, names, strict=True):
        if name in history:
            ax.plot(epochs, history[name], "o--", ms=4, color=NEUTRAL, label="training")
        if f"val_{name}" in history:
            ax.plot(epochs, history[f"val_{name}"], "s-", ms=4, color=RIGHT, label="validation")
        ax.set(xlabel="epoch")
        ax.set_title(name.replace("_f1", "-F1").replace("_", " "), pad=20)
        ax.xaxis.get_major_locator().set_params(integer=True)
        _mark_phases(ax, history)
    axes.flat[0].legend(frameon=False)
    return fig


def _has(history: pd.DataFrame, metric: str) -> bool:
    return metric in history or f"val_{metric}" in history


def _mark_phases(ax: Any, history: pd.DataFrame) -> None:
    """Put a dotted line where the phase changes, and the name of each phase above its epochs."""
    if "phase" not in history:
        return
    phases = history["phase"].astype(str).to_numpy()
    starts = [0, *(np.flatnonzero(phases[1:] != phases[:-1]) + 1), len(phases)]
    for start, end in pairwise(starts):
        if start:
            ax.axvline(start + 0.5, color="black", ls=":", lw=1)
        name = phases[start].replace("_", " ")
        at = (start + 1 + end) / 2
        place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
        ax.annotate(name, (at, 1.01), fontsize=9, **place)
