"""Record how well red cells are told apart by shape, and whether it is the shape that is read.

    hv run --profile redcells --archive chula.zip --until gradcam
    python scripts/measure_red_cells.py runs/redcells --json results/red-cells.json

The scores are those of the run's held-out fields, with intervals by field. One kind, the
elliptocytes, comes from fields of another stain, so three probes ask what colour alone would do:
how well the colours of a cut-out's rim, which is no cell, tell each kind; how well a few colours of
all of it do; and what is left of the trained model, and of a head on frozen features, when all
cut-outs are turned grey. The probes are cross-validated with fields kept apart.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hv_utils.ground.files import cores, dump_json, write_text
from hv_utils.ground.predictions import from_predictions, label_index, to_predictions
from hv_utils.ground.runs import Run, environment
from hv_utils.images.reading import read_image, resize
from hv_utils.inference.onnx_model import OnnxClassifier
from hv_utils.network.onnx_graph import array_outputs, write_graph
from hv_utils.network.weights import lite0_weights
from hv_utils.scores.intervals import bootstrap_interval
from hv_utils.scores.metrics import point_scores

FOLDS, RIM = 5, 6  # of the probes; pixels of a cut-out that count as its rim
OTHER_STAIN = "elliptocyte"


def grey(images: np.ndarray) -> np.ndarray:
    """Take the colour away from images (N, H, W, 3), uint8; three equal bands are left."""
    return np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in images])[..., None].repeat(
        3, axis=-1
    )


def rim_colours(image: np.ndarray) -> np.ndarray:
    """Return mean and spread of the colours of a cut-out's rim."""
    rim = np.ones(image.shape[:2], bool)
    rim[RIM:-RIM, RIM:-RIM] = False
    return np.concatenate([image[rim].mean(axis=0), image[rim].std(axis=0)])


def all_colours(image: np.ndarray) -> np.ndarray:
    """Return mean, spread and quartiles of all colours of a cut-out."""
    flat = image.reshape(-1, 3)
    return np.concatenate([flat.mean(0), flat.std(0), np.quantile(flat, [0.25, 0.75], 0).ravel()])


def probe(features: np.ndarray, labels: np.ndarray, fields: np.ndarray, *, seed: int) -> np.ndarray:
    """Return out-of-fold probabilities of a logistic regression, fields kept apart."""
    head = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=300)
    )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return cross_val_predict(
        head, features, labels, groups=fields, cv=folds, method="predict_proba", n_jobs=cores()
    )


def judged(table: pd.DataFrame, probs: np.ndarray, classes: list[str]) -> dict:
    """Score probabilities, with intervals by field."""
    predictions = to_predictions(table, probs, classes)
    index, _, _, _ = from_predictions(predictions, classes)
    points = point_scores(index, probs, classes)
    limits = bootstrap_interval(predictions, ranking=False)
    per_class = {
        name: {**points["per_class"][name], **_ends(limits[f"f1_{name}"])} for name in classes
    }
    macro = {"value": points["macro_f1"], **_ends(limits["macro_f1"])}
    return {"macro_f1": macro, "per_class": per_class, "confusion": points["confusion_matrix"]}


def _ends(interval: dict) -> dict:
    return {end: interval[end] for end in ("low", "high")}


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run of the profile redcells")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    run = Run.open(options.run)
    table = run.read_table("images.csv", made_by="01_data")
    verdicts = run.read_table("predictions.csv", made_by="03_model")
    _, probs, classes, _ = from_predictions(verdicts)
    test = table[table["split"] == "test"].reset_index(drop=True)
    manifest = json.loads(run.path("manifest.json").read_text(encoding="utf-8"))
    result = {
        "command": "python scripts/measure_red_cells.py runs/redcells",
        **environment(),
        "seed": options.seed,
        "data": manifest.get("data", {}),
        "classes": classes,
        "cells": {name: int(n) for name, n in table["label"].value_counts().items()},
        "fields": int(table["group"].nunique()),
        "test": {"cells": len(verdicts), "fields": int(test["group"].nunique())},
        "model": judged(verdicts, probs, classes),
    }
    images = [read_image(path) for path in table["path"]]
    labels = label_index(table["label"], classes)
    fields = table["group"].to_numpy()
    chosen = {"seed": options.seed, "fields": fields, "labels": labels}
    model = OnnxClassifier.load(run.path("model.onnx"), threads=cores())
    sized = np.stack([resize(image, model.size) for image in images])
    grey_test = grey(sized[(table["split"] == "test").to_numpy()])
    logits = np.concatenate([model.run(grey_test[i : i + 16])[0] for i in range(0, len(test), 16)])
    result["model, grey cut-outs"] = judged(test, model.probabilities(logits), classes)
    graph = write_graph(lite0_weights(), size=model.size, outputs=["features"], activation="relu6")
    probes = {
        "colours of the rim": np.stack([rim_colours(image) for image in images]),
        "colours of the cut-out": np.stack([all_colours(image) for image in images]),
        "frozen features": array_outputs(graph, sized),
        "frozen features, grey": array_outputs(graph, grey(sized)),
    }
    result["probes"] = {}
    for name, features in probes.items():
        found = probe(features, **chosen)
        scores = judged(table, found, classes)
        other = labels == classes.index(OTHER_STAIN)
        scores["auroc of elliptocytes"] = float(
            roc_auc_score(other, found[:, classes.index(OTHER_STAIN)])
        )
        result["probes"][name] = scores
        print(name, round(f1_score(labels, found.argmax(1), average="macro"), 3), flush=True)
    text = dump_json(result)
    if options.json:
        write_text(options.json, text)


if __name__ == "__main__":
    main()
