"""Train small networks that differ in one ingredient each, and score the cells held out.

    python scripts/measure_ablations.py RUN [--json results/ablations.json]

RUN is a run folder on the real data after 01_data, for its image table; only its training and
validation cells are used. A third of these cells is held out for the scores, a sixth of the rest
chooses the epoch. Images are small and passes short, so that all of it takes half an hour on two
cores: the differences count, not the level. The intervals are over cells; each network is trained
once, but for the reference, whose second training shows what chance alone does. What is finished
is kept in RUN/small-networks, and a second call goes on from there.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.data.splits import UNPLACED, grouped_folds, hold_out
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, dump_json, write_text
from hv_utils.ground.runs import Run, environment
from hv_utils.network.checkpoints import fingerprint_settings
from hv_utils.network.model import build_model, predict_probs
from hv_utils.network.settings import FineTuning, HeadTraining
from hv_utils.network.training import fine_tune, train_head
from hv_utils.scores.paired import collect, compare, gains

COPIES = {"train": 14, "val": 8, "test": 8}  # of one cell, at most
TUNING = FineTuning(from_block="stem", epochs=3, images_per_epoch=1600)
AUGMENTATION = {"rotation_degrees": 180.0, "zoom": 0.2, "shift": 0.05, "stain": 0.15}
REFERENCE = {"side": 112, "weights": "lite0", "fine_tuned": True, "augmented": False, "seed": 0}
# Each but the first differs from the first in what it names.
CONDITIONS = {
    "reference: 112 pixels, ImageNet start, fine-tuned": {},
    "the same with another seed": {"seed": 1},
    "frozen backbone": {"fine_tuned": False},
    "augmented once more": {"augmented": True},
    "no ImageNet start": {"weights": "none"},
    "64 pixels": {"side": 64},
    "160 pixels": {"side": 160},
}


def parts_of(table: pd.DataFrame, *, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Split the training and validation cells of a run into three parts, copies thinned out."""
    rows = table[table["split"].isin(["train", "val"]) & table["group"].notna()]
    rows = rows.reset_index(drop=True).assign(split="train")
    _, held_out = next(grouped_folds(rows, 3, seed))
    rows.loc[held_out, "split"] = "test"
    rows = hold_out(rows, fraction=1 / 6, seed=seed)
    rows = rows.sample(frac=1, random_state=seed)
    turn = rows.groupby("cell").cumcount()
    kept = rows[(turn < rows["split"].map(COPIES)) & (rows["split"] != UNPLACED)]
    return {name: kept[kept["split"] == name].reset_index(drop=True) for name in COPIES}


def train_and_score(
    parts: dict[str, pd.DataFrame], classes: list[str], settings: dict[str, Any]
) -> np.ndarray:
    """Train one network and return its probabilities for the cells held out, (N, K)."""
    size, seed = (settings["side"],) * 2, settings["seed"]
    model = build_model(len(classes), size=size, weights=settings["weights"], seed=seed)
    sides = parts["train"], parts["val"]
    train_head(model, *sides, HeadTraining(seed=seed), classes=classes)
    if settings["fine_tuned"]:
        augment = AUGMENTATION if settings["augmented"] else None
        fine_tune(model, *sides, replace(TUNING, augment=augment, seed=seed), classes=classes)
    return predict_probs(model, list(parts["test"]["path"]))


def measure(run: Run) -> dict[str, Any]:
    """Train every network that has not been trained yet, then compare them."""
    parts = parts_of(run.read_table("images.csv", made_by="01_data"))
    classes = sorted(parts["train"]["label"].unique())
    kept = run.path("small-networks")
    kept.mkdir(exist_ok=True)
    held = {}
    for number, (name, changes) in enumerate(CONDITIONS.items()):
        settings = REFERENCE | changes
        recipe = [settings, asdict(TUNING), AUGMENTATION if settings["augmented"] else {}]
        paths = (path for part in parts.values() for path in part["path"])
        file = kept / f"{fingerprint_settings({'recipe': recipe}, paths)}.npz"
        if not file.exists():
            print(f"[{number + 1}/{len(CONDITIONS)}] {name}", flush=True)
            probs = train_and_score(parts, classes, settings)
            with atomic_path(file) as temporary, temporary.open("wb") as stream:
                np.savez(stream, probs=probs)
        with np.load(file) as arrays:
            held[name] = collect(parts["test"], arrays["probs"][None], classes)
    reference, *others = held
    differences = {name: (name, reference) for name in others}
    scores, changes = compare(held), gains(held, differences)
    return {
        "reference": reference,
        "cells": {name: int(part["cell"].nunique()) for name, part in parts.items()},
        "images": {name: len(part) for name, part in parts.items()},
        "passes": TUNING.epochs,
        "images_per_pass": TUNING.images_per_epoch,
        "scores": scores[scores["score"] == "macro_f1"].to_dict("records"),
        "differences": changes[changes["score"] == "macro_f1"].to_dict("records"),
        "data": {name: value for name, value in run.manifest["data"].items() if "sha256" in name},
        **environment(),
    }


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder with images.csv")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        found = measure(Run.open(options.run))
    except HematoVisionError as error:
        parser.exit(1, f"measure_ablations: {error}\n")
    print(pd.DataFrame(found["scores"]).round(3).to_string(index=False))
    print(pd.DataFrame(found["differences"]).round(3).to_string(index=False))
    if options.json:
        write_text(options.json, dump_json(found))


if __name__ == "__main__":
    main()
