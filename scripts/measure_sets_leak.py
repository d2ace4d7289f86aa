"""Measure on the real Kaggle set what copies of cells do to sets with a guarantee.

    python scripts/measure_sets_leak.py KAGGLE [--json results/sets-leak.json]

KAGGLE is the unpacked set. Only TRAIN takes part, less the fields that TEST shows, at most so many
copies of a cell. In turn each fold of photographs is judged by a probe on frozen features that has
learnt from the others, with sets that were calibrated on these others in four ways. So each cell is
judged by what has not seen it, and TEST is not read.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.data.kaggle import find_folder
from hv_utils.data.source_map import SOURCE_MAP, read_source_map
from hv_utils.data.splits import grouped_folds, limit_copies
from hv_utils.ground.files import dump_json, fingerprint, write_text
from hv_utils.ground.runs import environment
from hv_utils.inference.sets import kept
from hv_utils.network.onnx_graph import graph_outputs
from hv_utils.network.weights import FOLDER
from hv_utils.scores.bootstrap import in_words
from hv_utils.studies import coverage as study
from hv_utils.studies import leak
from hv_utils.studies.probes import start_graph

COPIES = 12  # of a cell, at most
SIZE = (120, 160)  # half the copies' own
JUDGED, FOLDS = 4, 5  # folds that are judged in turn; folds of the rest, that calibrate
COVERAGES = (0.8, 0.9, 0.95)
SEED = 0


def train_copies(root: Path) -> pd.DataFrame:
    """List copies of TRAIN whose field no image of TEST shows, as the rows of an image table."""
    table = read_source_map().rename(columns={"photo": "cell"}).dropna(subset=["cell"])
    in_train = table["path"].str.startswith("TRAIN/")
    table = table[in_train & ~table["group"].isin(table.loc[~in_train, "group"])]
    images = find_folder(root, "TRAIN").parent
    label = table["path"].str.split("/").str[1].str.lower()
    table = table.assign(label=label, path=[str(images / path) for path in table["path"]])
    return limit_copies(table, COPIES, seed=SEED).reset_index(drop=True)


def judge_in_turn(table: pd.DataFrame, features: np.ndarray) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Judge each fold by the others; return the predictions, and the p-values by calibration."""
    judged, values = [], []
    for turn, (_, held) in enumerate(grouped_folds(table, JUDGED, SEED)):
        rows = table.assign(part="TRAIN")
        rows.loc[held, "part"] = "TEST"
        found, left_out = leak.compare_schemes(
            rows, features, n_folds=FOLDS, seed=SEED, schemes=("random", "source", "test")
        )
        assert not left_out, left_out
        calibrated = study.p_values_by_calibration(
            found["random"], found["source"], found["test"], seed=SEED
        )
        judged.append(found["test"])
        values.append(calibrated)
        print(f"fold {turn + 1} of {JUDGED}", flush=True)
    together = {name: np.concatenate([one[name] for one in values]) for name in values[0]}
    return pd.concat(judged, ignore_index=True), together


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kaggle", type=Path, help="folder with the unpacked Kaggle set")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = train_copies(options.kaggle)
    graph, weights = start_graph("lite0", size=SIZE)
    features = graph_outputs(graph, list(table["path"]))
    judged, p_values = judge_in_turn(table, features)
    cells = table.drop_duplicates("cell")["label"].value_counts()
    record: dict[str, Any] = {
        "command": "python scripts/measure_sets_leak.py blood-cells --json results/sets-leak.json",
        "seed": SEED,
        "images": len(table),
        "cells": cells.to_dict(),
        "copies_at_most": COPIES,
        "size": SIZE,
        "weights": weights,
        "sha256": {path.name: fingerprint(path) for path in (SOURCE_MAP, FOLDER / "lite0.npz")},
        "calibrations": {
            name: {
                f"{coverage:g}": study.covered(kept(values, coverage=coverage), judged, seed=SEED)
                for coverage in COVERAGES
            }
            for name, values in p_values.items()
        },
        "environment": environment(),
    }
    for name, found in record["calibrations"].items():
        at = found["0.9"]
        print(f"{name}: cells {in_words(at['cell'])}, images {in_words(at['image'])}, ", end="")
        print(f"{at['size']:.2f} classes")
    if options.json:
        write_text(options.json, dump_json(record))


if __name__ == "__main__":
    main()
