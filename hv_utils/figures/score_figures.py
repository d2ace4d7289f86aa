"""Figures about scores: confusion, ranking curves, reliability, intervals, cells."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hv_utils.figures.palette import NEUTRAL, RIGHT, WIDTH, WRONG, markers, new_figure, palette

_LINES = ("-", "--", "-.", ":")


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Draw the confusion matrix: counts, and the share of each true class.

    Parameters
    ----------
    matrix : array-like, shape (K, K), int
        Rows true, columns predicted.
    classes : sequence of str, length K
        Class names.

    Returns
    -------
    Figure
        Shade is the share of the row, so that classes of different size compare.
    """
    import seaborn as sns

    matrix = np.asarray(matrix)
    totals = matrix.sum(1, keepdims=True)
    shares = matrix / np.where(totals > 0, totals, 1)
    words = [
        [f"{n:,}\n{100 * share:.0f} %" for n, share in zip(*rows, strict=True)]
        for rows in zip(matrix, shares, strict=True)
    ]
    side = 1.6 + 0.95 * len(classes)
    fig, ax = new_figure(size=(min(side + 0.9, WIDTH + 1), min(side - 0.4, WIDTH)))
    sns.heatmap(
        shares,
        annot=np.array(words),
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=1,
        linewidths=1,
        xticklabels=classes,
        yticklabels=classes,
        cbar_kws={"label": "share of the true class"},
        ax=ax,
    )
    ax.set(xlabel="predicted", ylabel="true")
    ax.tick_params(axis="y", rotation=0, length=0)
    ax.tick_params(axis="x", rotation=0 if len(classes) < 6 else 45, length=0)
    return fig


def class_scores(
    per_class: Mapping[str, Mapping[str, float]], *, macro: Mapping[str, float] | None = None
) -> Figure:
    """Draw precision, recall and F1 of each class, and their means.

    Parameters
    ----------
    per_class : mapping of str to mapping
        As in metrics.json.
    macro : mapping of str to float, optional
        `precision`, `recall` and `f1` of the mean over classes.

    Returns
    -------
    Figure
        One row a class, a mark for each score.
    """
    rows = dict(per_class) | ({"mean of the classes": macro} if macro else {})
    marks = {"precision": ("P", RIGHT), "recall": ("o", WRONG), "f1": ("D", "black")}
    fig, ax = new_figure(size=(WIDTH, 1.0 + 0.62 * len(rows)))
    for shift, (name, (marker, colour)) in zip((-0.28, 0, 0.28), marks.items(), strict=True):
        at = np.arange(len(rows)) + shift
        values = [row[name] for row in rows.values()]
        label = {"f1": "F1"}.get(name, name)
        ax.plot(values, at, marker, color=colour, ms=7, label=label, clip_on=False, zorder=3)
        for x, y in zip(values, at, strict=True):
            ax.annotate(
                f"{x:.2f}", (x, y), (8, 0), textcoords="offset points", fontsize=9, va="center"
            )
    for y in np.arange(len(rows) - 1) + 0.5:
        ax.axhline(y, color="0.88", lw=0.8)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1.03)
    ax.invert_yaxis()
    ax.set_xlabel("score (0…1)")
    ax.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    return fig


def roc_curves(index: np.ndarray, pred_probs: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw the ROC curve of each class against the rest.

    Parameters
    ----------
    index : array, shape (N,), int
        Position of the true class.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities.
    classes : sequence of str, length K
        Class names; one without positives or negatives is left out.

    Returns
    -------
    Figure
        The area of each curve in the legend.
    """
    from sklearn import metrics as sk

    fig, ax = new_figure(size=(WIDTH * 0.8, WIDTH * 0.8))
    ax.plot([0, 1], [0, 1], color="0.7", lw=1, ls=(0, (1, 2)), label="guessing (area 0.50)")
    for j, (name, style) in enumerate(_styles(classes)):
        true = index == j
        if true.any() and not true.all():
            fall_out, recall, _ = sk.roc_curve(true, pred_probs[:, j])
            label = f"{name} (area {sk.auc(fall_out, recall):.3f})"
            ax.plot(fall_out, recall, label=label, **style)
    ax.set(xlabel="false positive rate", ylabel="true positive rate (recall)")
    return _curve_frame(fig, ax, "lower right")


def precision_recall_curves(
    index: np.ndarray, pred_probs: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Draw precision over recall of each class against the rest.

    Parameters
    ----------
    index, pred_probs, classes
        As in `roc_curves`.

    Returns
    -------
    Figure
        The average precision of each curve in the legend.
    """
    from sklearn import metrics as sk

    fig, ax = new_figure(size=(WIDTH * 0.8, WIDTH * 0.8))
    for j, (name, style) in enumerate(_styles(classes)):
        true = index == j
        if true.any():
            precision, recall, _ = sk.precision_recall_curve(true, pred_probs[:, j])
            average = sk.average_precision_score(true, pred_probs[:, j])
            label = f"{name} (average {average:.3f})"
            ax.step(recall, precision, where="post", label=label, **style)
    ax.set(xlabel="recall", ylabel="precision")
    return _curve_frame(fig, ax, "lower left")


def _styles(classes: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Give each class colour and line style, so that the curves differ in print as well."""
    colours = palette(classes)
    return [
        (name, {"color": colours[name], "ls": _LINES[j % len(_LINES)], "lw": 2})
        for j, name in enumerate(classes)
    ]


def _curve_frame(fig: Figure, ax: Any, corner: str) -> Figure:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), aspect="equal")
    ax.legend(loc=corner, fontsize=9)
    return fig


def reliability(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the share of right verdicts over confidence.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Name, for example "before", to a table of `calibration.reliability_table`; two at most.

    Returns
    -------
    Figure
        On the diagonal a probability means what it says; below it the model is too sure. The
        area of a mark is in proportion to the images of its bin, whose number stands below.
    """
    fig, (ax, low) = new_figure(
        2, 1, size=(WIDTH * 0.8, 4.6), sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    ax.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":", label="calibrated")
    styles = ((WRONG, "o"), (RIGHT, "s"))
    for i, (name, table) in enumerate(tables.items()):
        colour, marker = styles[i % 2]
        full = table[table["n"] > 0]
        area = 14 + 240 * full["n"] / table["n"].sum()
        mark = {
            "s": area,
            "marker": marker,
            "edgecolor": colour,
            "linewidth": 1.6,
            "clip_on": False,
        }
        ax.scatter(full["confidence"], full["accuracy"], facecolor="none", label=name, **mark)
        width = (table["high"] - table["low"]) / len(tables) * 0.9
        left = table["low"] + i * width + 0.05 * (table["high"] - table["low"])
        low.bar(left, table["n"], width, align="edge", color=colour, label=name)
    ax.set(ylabel="share right", ylim=(-0.02, 1.04))
    ax.legend(frameon=False, loc="upper left")
    low.set(xlabel="confidence (probability of the verdict)", ylabel="images", xlim=(0, 1.01))
    return fig


def score_intervals(
    rows: pd.DataFrame, *, reference: float | None = None, reference_label: str = ""
) -> Figure:
    """Draw scores with their intervals, one line each.

    Parameters
    ----------
    rows : DataFrame
        `name`, `level` (for example "per image"), `value`, `low`, `high`; ends may be missing.
    reference : float, optional
        A claimed value, as a dashed line.
    reference_label : str
        Its name.

    Returns
    -------
    Figure
        Names down the side, a marker for each level.
    """
    names, levels = list(dict.fromkeys(rows["name"])), list(dict.fromkeys(rows["level"]))
    styles = dict(zip(levels, ((RIGHT, "o"), (WRONG, "D"), (NEUTRAL, "s")), strict=False))
    shifts = dict(zip(levels, (np.arange(len(levels)) - (len(levels) - 1) / 2) * 0.3, strict=True))
    fig, ax = new_figure(size=(WIDTH, 1.1 + 0.45 * len(names)))
    for level in levels:
        part = rows[rows["level"] == level]
        at = part["name"].map(names.index) + shifts[level]
        colour, marker = styles[level]
        ax.hlines(at, part["low"], part["high"], color=colour, lw=2)
        ax.plot(part["value"], at, marker, color=colour, ms=6, label=level)
    for y in np.arange(len(names) - 1) + 0.5:
        ax.axhline(y, color="0.88", lw=0.8)
    if reference is not None:
        ax.axvline(reference, color="black", ls="--", lw=1.2, label=reference_label)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(names) - 0.5, -0.5)
    begins = ax.get_xlim()[0]
    ax.set_xlabel(f"score (the axis begins at {begins:.2f})" if begins > 0 else "score (0…1)")
    ax.legend(ncols=4, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    return fig


def label_curves(rows: pd.DataFrame) -> Figure:
    """Draw a score against the number of labels, a line for each set.

    Parameters
    ----------
    rows : DataFrame
        `set`, `labels`, `mean`, `min`, `max`.

    Returns
    -------
    Figure
        The band reaches from the lowest draw to the highest.
    """
    fig, ax = new_figure(size=(WIDTH, 3.4))
    styles = ((RIGHT, "o", "-"), (WRONG, "D", "--"), (NEUTRAL, "s", "-."))
    for (name, part), (colour, marker, line) in zip(rows.groupby("set"), styles, strict=False):
        ax.fill_between(part["labels"], part["min"], part["max"], color=colour, alpha=0.15, lw=0)
        ax.plot(part["labels"], part["mean"], line, marker=marker, color=colour, label=name)
    ax.set(xlabel="labelled cells", ylabel="macro-F1 on the others", ylim=(0, 1))
    if len(rows):
        ax.legend(frameon=False, loc="lower right")
    return fig


def cell_strip(cells: pd.DataFrame, *, name_worst: int = 6) -> Figure:
    """Draw one mark for each cell: the share of its images judged right.

    Parameters
    ----------
    cells : DataFrame
        As `metrics.per_cell` gives: `cell`, `label`, `n_images`, `share_right`.
    name_worst : int
        So many cells with the most wrong images are named, with the number of their images.

    Returns
    -------
    Figure
        The area of a mark grows with the images of the cell; cells of the same share stand side
        by side.
    """
    classes = sorted(cells["label"].unique())
    colours, shapes = palette(classes), markers(classes)
    fig, ax = new_figure(size=(WIDTH, 1.0 + len(classes)))
    cells = cells.sort_values("share_right", kind="stable").reset_index(drop=True)
    # Neighbours in x take turns over the lanes of their class, and whoever finds all lanes taken
    # steps aside, so that as many marks are seen as there are cells.
    turn = cells.groupby("label").cumcount()
    lanes = cells["label"].map(cells["label"].value_counts().clip(upper=7))
    at = cells["label"].map(classes.index) + ((turn % lanes + 0.5) / lanes - 0.5) * 0.84
    same = cells.groupby(["label", cells["share_right"].round(2)]).cumcount()
    x = cells["share_right"] - 0.02 * (same // lanes)
    area = 18 + 80 * cells["n_images"] / cells["n_images"].max()
    for name in classes:
        mine = cells["label"] == name
        ax.scatter(
            x[mine],
            at[mine],
            area[mine],
            color=colours[name],
            marker=shapes[name],
            alpha=0.65,
            edgecolor="white",
        )
    wrong = cells["n_images"] * (1 - cells["share_right"])
    for i in wrong[wrong > 0].nlargest(name_worst).index:
        word = f"{cells.at[i, 'cell']} ({cells.at[i, 'n_images']})"
        ax.annotate(
            word,
            (x[i], at[i]),
            (np.sqrt(area[i]) / 2 + 3, 0),  # the marker's radius and a gap, in points
            textcoords="offset points",
            fontsize=9,
            va="center",
        )
    ax.axvline(0.5, color="0.75", lw=0.8, ls=":")
    ax.set_yticks(range(len(classes)), classes)
    ax.set_ylim(len(classes) - 0.5, -0.5)
    ax.set(xlabel="share of its images judged right (equals side by side)", xlim=(-0.04, 1.16))
    ax.set_xticks(np.linspace(0, 1, 6))
    return fig


def influence(left_out: pd.DataFrame, *, n: int = 8, score: str = "macro_f1") -> Figure:
    """Draw by how much leaving out one cell moves the score.

    Parameters
    ----------
    left_out : DataFrame
        As `intervals.leave_one_cell_out` gives.
    n : int
        Cells to draw, the most influential first.
    score : str
        Its name, for the axis.

    Returns
    -------
    Figure
        Bars to the right: the score rises without this cell.
    """
    top = left_out.head(n)
    colours = palette(sorted(left_out["label"].unique()))
    fig, ax = new_figure(size=(WIDTH, 0.9 + 0.36 * len(top)))
    marks = ax.barh(range(len(top)), top["change"], color=[colours[x] for x in top["label"]])
    ax.bar_label(marks, labels=[f"{x:+.3f}" for x in top["change"]], padding=3, fontsize=9)
    names = [f"{r.label} {r.cell} ({r.n_images} images)" for r in top.itertuples()]
    ax.set_yticks(range(len(top)), names)
    ax.invert_yaxis()
    ax.axvline(0, color="black", lw=0.8)
    ax.margins(x=0.25)
    ax.set_xlabel(
        f"change of {score.replace('_', ' ').replace('f1', 'F1')} when the cell is left out"
    )
    return fig
