"""How many labels does a foreign laboratory need? `hv adapt` on Raabin and Zheng 1, many times.

    python scripts/measure_adaptation.py FOLDER [--model MODEL.onnx] [--draws 10]
        [--json results/adaptation.json]

FOLDER as in `measure_laboratories.py`. Of the report's four kinds 0, 5, 10, 25, 50 and 100 cells
are drawn, the kinds in turn; the head is adapted to them as `hv adapt` does, and judged on the
cells that were not drawn. Cells of one smear may lie on both sides, as they would for a user who
labels cells of the smears at hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from measure_laboratories import raabin, zheng

from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import environment
from hv_utils.images.labels import CLASSES
from hv_utils.inference.onnx_model import OnnxClassifier
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.scores.metrics import point_scores
from hv_utils.studies.adaptation import adapted_layer, hidden_of, old_layer

COUNTS = (0, 5, 10, 25, 50, 100)
SETS = {"raabin": ("raabin-part", raabin), "zheng 1": ("wbc-masks-1", zheng)}


def drawn(labels: pd.Series, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw cells, the kinds in turn."""
    order = pd.Series(rng.permutation(len(labels)))
    turn = order.groupby(labels.to_numpy()[order]).cumcount()
    return order.iloc[np.argsort(turn.to_numpy(), kind="stable")][:count].to_numpy()


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=TRAVELLING_MODEL)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    model = OnnxClassifier.load(options.model)
    old = old_layer(model)
    report: dict[str, Any] = {"environment": environment(), "sha256": model.meta["sha256"]}
    report |= {"draws": options.draws, "scores": []}
    for name, (folder, read) in SETS.items():
        cells = read(options.folder / folder)
        cells = cells[cells["label"].isin(CLASSES)].reset_index(drop=True)
        hidden, _, reasons = hidden_of(model, list(cells["path"]))
        shown = [not reason for reason in reasons]
        cells, hidden = cells[shown].reset_index(drop=True), hidden[shown]
        truth = np.array([model.classes.index(label) for label in cells["label"]])
        for count in COUNTS:
            for draw in range(options.draws if count else 1):
                chosen = drawn(cells["label"], count, np.random.default_rng((draw, count)))
                groups = list(cells["group"].iloc[chosen])
                layer, pull = adapted_layer(hidden[chosen], truth[chosen], groups, old) if count else (old, None)  # fmt: skip  # noqa: E501
                rest = np.setdiff1d(np.arange(len(cells)), chosen)
                probs = layer.probabilities(hidden[rest])
                found = point_scores(truth[rest], probs, model.classes)
                row = {"set": name, "labels": count, "draw": draw, "pull": pull}
                report["scores"].append({**row, "macro_f1": found["macro_f1"]})
            scores = [
                row["macro_f1"]
                for row in report["scores"]
                if (row["set"], row["labels"]) == (name, count)
            ]
            print(f"{name:8} {count:4} labels: {np.mean(scores):.3f} "
                  f"[{min(scores):.3f} {max(scores):.3f}]", flush=True)  # fmt: skip
    if options.json:
        write_text(options.json, dump_json(report))


if __name__ == "__main__":
    main()
