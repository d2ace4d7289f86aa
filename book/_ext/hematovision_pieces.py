"""What the pieces that a reader can try show, computed from the run behind the book.

Each piece stands in its page twice: as a table or pictures, for readers without scripts and for
print, and as data for `_static/hematovision.js`. What a run cannot show raises `NotShownError` with
a sentence that the page prints instead.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from hv_utils.ground.runs import Run

CELLS_PER_CLASS = 3
PICTURE_SIDE = 220  # pixels
BAG_SIZES = (5, 10, 20, 50, 100)
RESAMPLES = 2000
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
ANSWERS = ("answered", "of these right")
COPIES = (1, 2, 5, 10, 20, 50)
TEST_SHARE = 0.2  # one fold of five
SENSITIVITY, SPECIFICITY = 0.90, 0.95  # the worked example of the chapter on challenges
PREVALENCES = (0.25, 0.10, 0.05, 0.022, 0.01)


class NotShownError(Exception):
    """A run lacks what a piece needs; the message is a sentence for the reader."""


class Piece(NamedTuple):
    """What a piece needs for a script, and the HTML that says the same without one."""

    data: dict[str, Any]
    static: str


def quiz(run: Run) -> Piece:
    """Name the cell: drawn test cells, and the model's verdicts on their copies."""
    from hv_utils.drawn.variants import TYPICAL
    from hv_utils.figures.crops import crop
    from hv_utils.images.labels import MORPHOLOGY
    from hv_utils.images.reading import read_image
    from hv_utils.images.voc import annotation_path, read_boxes
    from hv_utils.scores.metrics import per_cell

    images = _table(run, "images.csv")
    if set(images["source"]) != {"demo"}:
        raise NotShownError(
            "The quiz shows drawn cells only, and this book was built from photographs."
        )
    cells = per_cell(_table(run, "predictions.csv"))
    cells = cells.merge(
        _table(run, "photos.csv")[["photo", "path"]], left_on="cell", right_on="photo"
    )
    truth = images.drop_duplicates("cell")[["cell", "drawn_as", "variant"]]
    cells = cells.merge(truth, on="cell").query("label == drawn_as")  # the others are a trap
    cells = cells[[name in MORPHOLOGY for name in cells["label"]]].sample(frac=1, random_state=0)
    cells = cells.groupby("label").head(CELLS_PER_CLASS)
    if not all(Path(path).exists() for path in cells["path"]):
        raise NotShownError("The drawn photographs are no longer where the run left them.")
    asked = []
    for number, row in enumerate(cells.itertuples(), start=1):
        white = next(box for box in read_boxes(annotation_path(row.path)) if box.name == "WBC")
        look = MORPHOLOGY[row.label]
        asked.append(
            {
                "picture": _jpeg(crop(read_image(row.path), white)),
                "alt": f"Cell {number} of {len(cells)}, drawn by this description. Nucleus: "
                f"{look.nucleus}. Cytoplasm: {look.cytoplasm}. Granules: {look.granules}.",
                "label": row.label,
                "drawn": row.label if row.variant == TYPICAL else f"{row.label} ({row.variant})",
                "predicted": row.predicted,
                "copies": int(row.n_images),
                "right": round(row.n_images * row.share_right),
            }
        )
    if not asked:
        raise NotShownError("No cell of this run's test split has a photograph to show.")
    answers = "".join(
        f'<li><img src="{a["picture"]}" alt="{escape(a["alt"])}" width="150" height="150">'
        f"<details><summary>Answer {number}</summary>{escape(_answer(a))}</details></li>"
        for number, a in enumerate(asked, start=1)
    )
    classes = sorted({a["label"] for a in asked})
    data = {"classes": classes, "cells": [{k: a[k] for k in a if k != "picture"} for a in asked]}
    return Piece(data, f'<ol class="hv-cells">{answers}</ol>')


def _answer(cell: dict[str, Any]) -> str:
    return (
        f"Drawn as {cell['drawn']}. The model says {cell['predicted']}; "
        f"it is right about {cell['right']} of the {cell['copies']} copies."
    )


def threshold(run: Run) -> Piece:
    """Answer only above a confidence: share answered against share right."""
    from hv_utils.ground.predictions import from_predictions
    from hv_utils.scores.calibration import apply_temperature

    found = json.loads(_need(run, "metrics.json").read_text(encoding="utf-8"))
    facts = json.loads(_need(run, "model.onnx.json").read_text(encoding="utf-8"))
    chosen, parts = facts["thresholds"]["unsure_below"], {}
    for part, name in (("validation", "predictions-val.csv"), ("test", "predictions.csv")):
        index, probs, _, _ = from_predictions(_table(run, name), found["classes"])
        probs = apply_temperature(probs, found["calibration"]["temperature"])
        confidence, right = probs.max(1), probs.argmax(1) == index
        order = np.argsort(-confidence)
        parts[part] = {
            "confidence": confidence[order].round(4).tolist(),
            "right": right[order].astype(int).tolist(),
        }
    body = [
        [f"{least:.2f}", *(word for part in parts.values() for word in _answered(part, least))]
        for least in sorted({*THRESHOLDS, round(chosen, 4)})
    ]
    caption = (
        "Share of the images that get an answer, and share of the answers that are right. This "
        f"run chose {chosen:.2f} on its validation cells."
    )
    head = ["least confidence", *(f"{part}: {what}" for part in parts for what in ANSWERS)]
    data = {"parts": parts, "chosen": round(chosen, 4), "target": facts["calibration"]["target"]}
    return Piece(data, _html_table(caption, head, body))


def _answered(part: dict[str, list], least: float) -> tuple[str, str]:
    answered = np.asarray(part["confidence"]) >= least
    right = np.asarray(part["right"])[answered]
    share = f"{100 * right.mean():.0f} %" if len(right) else "no answer"
    return f"{100 * answered.mean():.0f} %", share


def prevalence(run: Run) -> Piece:
    """Turn sensitivity, specificity and a share into predictive values."""
    body = []
    for share in PREVALENCES:
        found, alarms = share * SENSITIVITY, (1 - share) * (1 - SPECIFICITY)
        cleared, missed = (1 - share) * SPECIFICITY, share * (1 - SENSITIVITY)
        body.append(
            [
                f"{100 * share:g} %",
                f"{100 * found / (found + alarms):.0f} %",
                f"{100 * cleared / (cleared + missed):.1f} %",
            ]
        )
    caption = (
        f"Of a test that finds {100 * SENSITIVITY:.0f} % of the eosinophils and gives a false "
        f"alarm for {100 * (1 - SPECIFICITY):.0f} % of the other cells."
    )
    head = [
        "share of eosinophils",
        "positive verdicts that are right",
        "negative verdicts that are right",
    ]
    data = {
        "sensitivity": 100 * SENSITIVITY,
        "specificity": 100 * SPECIFICITY,
        "shares": {"a balanced folder": 25, "healthy blood": 2.2},
    }
    return Piece(data, _html_table(caption, head, body))


def bag(run: Run) -> Piece:
    """Draw cells with replacement: the scores scatter, the more the fewer the cells."""
    from hv_utils.ground.predictions import from_predictions
    from hv_utils.scores.intervals import scores_from_confusion

    index, probs, classes, cells = from_predictions(_table(run, "predictions.csv"))
    known = cells.notna().to_numpy()
    if not known.any():
        raise NotShownError("Nobody knows which cell an image of this run shows.")
    k = len(classes)
    pairs = index * k + probs.argmax(1)
    codes, names = pd.factorize(cells[known])
    counts = np.bincount(codes * k * k + pairs[known], minlength=len(names) * k * k)
    counts = counts.reshape(len(names), k * k)
    rng, body = np.random.default_rng(0), []
    for n in sorted({*(size for size in BAG_SIZES if size < len(names)), len(names)}):
        draws = rng.multinomial(n, np.full(len(names), 1 / len(names)), RESAMPLES)
        f1 = scores_from_confusion((draws @ counts).reshape(-1, k, k))["macro_f1"]
        low, high = np.quantile(f1, [0.025, 0.975])
        body.append([str(n), f"{low:.2f} to {high:.2f}", f"{high - low:.2f}"])
    caption = (
        f"Macro-F1 of {RESAMPLES:,} draws with replacement from the {len(names)} test cells of "
        "this run: the middle 95 %."
    )
    data = {"classes": classes, "cells": counts.tolist()}
    return Piece(data, _html_table(caption, ["cells drawn", "from … to", "width"], body))


def leak(run: Run) -> Piece:
    """Deal the copies of cells to training and test, by image or by cell."""
    images = _table(run, "images.csv")
    copies = images.loc[images["split"].isin(["train", "val"]), "cell"].value_counts().to_numpy()
    if not len(copies):
        raise NotShownError(
            "Nobody knows which cell an image of this run shows: none can be dealt."
        )
    body = []
    for most in sorted({*(c for c in COPIES if c < copies.max()), int(copies.max())}):
        kept = np.minimum(copies, most)
        sibling = np.average(1 - TEST_SHARE ** (kept - 1), weights=kept)
        body.append([str(most), f"{100 * sibling:.0f} %", "0 %"])
    caption = (
        "Share of the test images with another copy of their cell in training, if every fifth "
        f"image or every fifth of the {len(copies)} cells is dealt to the test. Of each cell, at "
        "most so many copies are kept."
    )
    head = ["copies of a cell, at most", "dealt by image", "dealt by cell"]
    data = {"copies": [int(c) for c in copies], "share": TEST_SHARE}
    return Piece(data, _html_table(caption, head, body))


def _need(run: Run, name: str) -> Path:
    if not run.path(name).exists():
        raise NotShownError(f"The run behind this book has no {name}, which this piece needs.")
    return run.path(name)


def _table(run: Run, name: str) -> pd.DataFrame:
    _need(run, name)
    return run.read_table(name)


def _jpeg(image: np.ndarray) -> str:
    import cv2

    small = cv2.resize(image, (PICTURE_SIDE, PICTURE_SIDE), interpolation=cv2.INTER_AREA)
    _, code = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(code.tobytes()).decode()


def _html_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(word)}</th>' for word in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(word)}</td>" for word in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<table class="table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )


PIECES: dict[str, tuple[str, Callable[[Run], Piece]]] = {
    "quiz": ("Name the cell", quiz),
    "threshold": ("When to say nothing", threshold),
    "prevalence": ("What a positive verdict is worth", prevalence),
    "bag": ("The bag of cells", bag),
    "leak": ("Deal the copies", leak),
}
