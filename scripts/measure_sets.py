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
from hv_utils.inference.familiarity import Strangers, alarm
from hv_utils.inference.onnx_model import SHIPPED_MODEL, OnnxClassifier
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.scores.calibration import apply_temperature
from hv_utils.studies import coverage as study

COVERAGES = (0.8, 0.9, 0.95)
SETS = {
    "pbc held out": ("pbc-part", pbc_test),
    "raabin": ("raabin-part", raabin),
    "zheng 1": ("wbc-masks-1", zheng),
}
FOLDERS, CELLS = 200, 50


def at_coverages(model: OnnxClassifier, table: pd.DataFrame, probs: np.ndarray) -> dict[str, Any]:
    """Count how often sets hold the true class, see `coverage.covered`, and how large they are."""
    report: dict[str, Any] = {"images": len(table)}
    for coverage in COVERAGES:
        members = model.sets.sets(probs, coverage=coverage)
        report[f"{coverage:g}"] = study.covered(members, table)
    return report


def alarms(p_values: np.ndarray, rng: np.random.Generator) -> float:
    """Return how often fifty cells drawn from a set set off the alarm."""
    drawn = (rng.choice(p_values, CELLS, replace=False) for _ in range(FOLDERS))
    return float(np.mean([bool(alarm(Strangers.among(folder))) for folder in drawn]))


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
        probs = told[prob_columns(model.classes)].to_numpy(float)
        found[name] = at_coverages(model, told, probs)
        report["alarm"][name] = alarms(told["familiarity"].to_numpy(), rng)
        print(name, found[name]["0.9"], report["alarm"][name], flush=True)
    report["models"]["travelling"] = {"sha256": model.meta["sha256"], "sets": found}
    home = OnnxClassifier.load(SHIPPED_MODEL)
    table = pd.read_csv(REFERENCE_RESULTS / "native" / "predictions.csv", dtype={"cell": str})
    _, probs, classes, _ = from_predictions(table)
    assert tuple(classes) == home.classes
    recorded = at_coverages(home, table, apply_temperature(probs, home.temperature))
    report["models"]["home"] = {"sha256": home.meta["sha256"], "sets": {"kaggle TEST": recorded}}
    print("home", recorded["0.9"])
    if options.json:
        write_text(options.json, dump_json(report))


if __name__ == "__main__":
    main()
