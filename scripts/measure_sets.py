"""Measure whether sets of classes hold the true class as often as promised, at home and abroad.

    python scripts/measure_sets.py FOLDER [--json results/sets.json]

FOLDER as in `measure_laboratories.py`. The travelling model's sets on cells held out at home and in
two laboratories that it has not seen, class by class too; and how often `hv predict` sounds its
alarm over folders of fifty cells drawn from each. Of the home model the recorded predictions on
TEST are counted, by image and by cell; nothing is predicted anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from measure_laboratories import judge, pbc_test, raabin, zheng

from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.predictions import from_predictions, prob_columns
from hv_utils.ground.runs import REFERENCE_RESULTS, environment
from hv_utils.inference.familiarity import alarm
from hv_utils.inference.onnx_model import SHIPPED_MODEL, OnnxClassifier
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.scores.bootstrap import mean_interval
from hv_utils.scores.calibration import apply_temperature

COVERAGES = (0.8, 0.9, 0.95)
SETS = {
    "pbc held out": ("pbc-part", pbc_test),
    "raabin": ("raabin-part", raabin),
    "zheng 1": ("wbc-masks-1", zheng),
}
FOLDERS, CELLS = 200, 50


def covered(
    model: OnnxClassifier, probs: np.ndarray, truth: np.ndarray, groups: np.ndarray
) -> dict[str, Any]:
    """Count how often sets hold the truth, and how large they are."""
    report: dict[str, Any] = {"images": len(truth), "groups": len(set(groups))}
    for coverage in COVERAGES:
        members = model.sets.sets(probs, coverage=coverage)
        held = members[np.arange(len(truth)), truth].astype(float)
        by_group = pd.Series(held).groupby(groups).mean().to_numpy()
        report[f"{coverage:g}"] = {
            "by image": {"value": float(held.mean()), **mean_interval(held, groups)},
            "by group": {
                "value": float(by_group.mean()),
                **mean_interval(by_group, np.arange(len(by_group))),
            },
            "size": float(members.sum(1).mean()),
            "single": float((members.sum(1) == 1).mean()),
            "by class": {
                model.classes[k]: float(held[truth == k].mean()) for k in np.unique(truth)
            },
        }
    return report


def alarms(p_values: np.ndarray, rng: np.random.Generator) -> float:
    """Return how often fifty cells drawn from a set set off the alarm."""
    drawn = (rng.choice(p_values, CELLS, replace=False) for _ in range(FOLDERS))
    return float(np.mean([bool(alarm(list(folder))) for folder in drawn]))


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    report: dict[str, Any] = {"environment": environment(), "models": {}, "alarm": {}}
    model = OnnxClassifier.load(TRAVELLING_MODEL)
    found: dict[str, Any] = {}
    for name, (folder, read) in SETS.items():
        rows = judge(read(options.folder / folder), TRAVELLING_MODEL)
        told = rows[rows["familiarity"].notna() & rows["label"].isin(model.classes)]
        truth = told["label"].map(model.classes.index).to_numpy()
        probs = told[prob_columns(model.classes)].to_numpy(float)
        found[name] = covered(model, probs, truth, told["cell"].to_numpy())
        report["alarm"][name] = alarms(told["familiarity"].to_numpy(), rng)
        print(name, found[name]["0.9"], report["alarm"][name], flush=True)
    report["models"]["travelling"] = {"sha256": model.meta["sha256"], "sets": found}
    home = OnnxClassifier.load(SHIPPED_MODEL)
    table = pd.read_csv(REFERENCE_RESULTS / "native" / "predictions.csv", dtype={"cell": str})
    truth, probs, classes, cells = from_predictions(table)
    assert tuple(classes) == home.classes
    probs = apply_temperature(probs, home.temperature)
    recorded = covered(home, probs, truth, cells.to_numpy())
    report["models"]["home"] = {"sha256": home.meta["sha256"], "sets": {"kaggle TEST": recorded}}
    print("home", recorded["0.9"])
    if options.json:
        write_text(options.json, dump_json(report))


if __name__ == "__main__":
    main()
