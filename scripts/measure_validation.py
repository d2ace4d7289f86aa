"""Compare weights of the travelling model on validation cells, where it is chosen.

    python scripts/measure_validation.py --kaggle blood-cells.zip --pbc PBC_dataset.zip
        NAME=MODEL.onnx … [--json results/validation.json]

Macro-F1 of each laboratory's validation views, and log loss and accuracy of views drawn evenly,
as they are and changed as `travelling_export.outputs` changes them, which imitates a foreign
laboratory. The views are those of `train_travelling.py`, and are made where they are missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import f1_score

from hv_utils.data.archive import open_archive
from hv_utils.fields.view import in_hue
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.predictions import label_index
from hv_utils.ground.runs import environment
from hv_utils.inference.onnx_model import OnnxClassifier
from hv_utils.inference.preparation import HUE
from hv_utils.network.laboratories import LABORATORIES
from hv_utils.network.travelling_export import outputs
from hv_utils.network.views import Views, stored_views
from hv_utils.scores.calibration import log_loss

DRAWN, SEEDS = 800, (11, 12)  # views of a drawing, and the drawings


def at_home(model: OnnxClassifier, val: Views) -> dict[str, float]:
    """Return the macro-F1 of each laboratory, its views in the model's hue."""
    shown = [in_hue(np.ascontiguousarray(view), model.meta[HUE]) for view in val.shown()]
    parts = [model.run(np.stack(shown[at : at + 32]))[0] for at in range(0, len(shown), 32)]
    predicted = np.concatenate(parts).argmax(axis=1)
    truth = label_index(val.table["label"], model.classes)
    return {
        name: f1_score(truth[rows], predicted[rows], labels=np.unique(truth[rows]), average="macro")
        for name, rows in val.table.groupby("laboratory").indices.items()
    }


def drawn(model: OnnxClassifier, val: Views, seed: int) -> dict[str, dict[str, float]]:
    """Return log loss, after the temperature, and accuracy of views as they are and changed."""
    logits, _, truth = outputs(model, val, model.meta[HUE], seed=seed, count=DRAWN)
    probs, middle = model.probabilities(logits), len(truth) // 2
    return {
        name: {
            "log_loss": log_loss(truth[rows], probs[rows]),
            "accuracy": float((probs[rows].argmax(axis=1) == truth[rows]).mean()),
        }
        for name, rows in (("plain", slice(middle)), ("changed", slice(middle, None)))
    }


def main() -> None:
    """Measure the models named on the command line, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL.onnx")
    for name in LABORATORIES:
        parser.add_argument(f"--{name}", type=Path, required=True, help="archive or folder")
    parser.add_argument("--folder", type=Path, default=Path("runs/travelling"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    cells = {n: read(open_archive(getattr(options, n))[0]) for n, read in LABORATORIES.items()}
    val = stored_views(cells, options.folder / "views").part("val")
    report: dict = {"environment": environment(), "n_drawn": DRAWN, "models": {}}
    for given in options.models:
        name, path = given.split("=", 1)
        model = OnnxClassifier.load(path, threads=2)
        found = {"sha256": model.meta["sha256"]["onnx"], "macro_f1": at_home(model, val)}
        found["drawings"] = {str(seed): drawn(model, val, seed) for seed in SEEDS}
        report["models"][name] = found
        print(name, dump_json(found), flush=True)
    if options.json:
        write_text(options.json, dump_json(report))


if __name__ == "__main__":
    main()
