"""Score a model on cells from another laboratory and stain: Dataset 1 of Zheng et al. (2018).

    python scripts/measure_external.py ARCHIVE.zip NAME=MODEL.onnx … [--json results/external.json]

300 crops of 120x120 pixels around one white cell each, of another stain, lamp and camera. Nothing
was tuned on them, but for the scale, which uses the median diameter of their cells. Each is judged
in three ways: squeezed into the model's input as any image is; brought to the size that cells have
in training, on a ground of the image's own background; and so with the background, the median of
the brighter pixels, made white as well. The basophil is left out. Intervals resample images, which
are of different cells.
"""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.predictions import to_predictions
from hv_utils.images.reading import resize
from hv_utils.inference.onnx_model import OnnxClassifier
from hv_utils.scores.metrics import score

NAMES = {"1": "neutrophil", "2": "lymphocyte", "3": "monocyte", "4": "eosinophil"}
# Medians of the diameter: of the white cells' outlines here, and of their boxes in training.
CELL_HERE, CELL_IN_TRAINING, TRAINING_FRAME = 75.0, 97.0, (240, 320)
WHITE = np.array([232.0, 228.0, 232.0])  # background of the training photos


def read_set(path: Path) -> tuple[list[np.ndarray], list[str]]:
    """Read the crops, uint8 (120, 120, 3), and their labels."""
    images, labels = [], []
    with zipfile.ZipFile(path) as archive:
        table = next(name for name in archive.namelist() if name.endswith("Dataset 1.csv"))
        rows = csv.DictReader(io.TextIOWrapper(archive.open(table)))
        for row in rows:
            number, label = (value.strip() for value in row.values())
            if label in NAMES:
                data = archive.read(f"Dataset 1/{int(number):03d}.bmp")
                images.append(np.array(Image.open(io.BytesIO(data)).convert("RGB")))
                labels.append(NAMES[label])
    return images, labels


def background(image: np.ndarray) -> np.ndarray:
    """Return the colour around the cell: the median of the brighter half, float64 (3,)."""
    grey = image.mean(axis=2)
    return np.median(image[grey >= np.median(grey)], axis=0)


def at_scale(
    image: np.ndarray, size: tuple[int, int], ground_colour: np.ndarray | None = None
) -> np.ndarray:
    """Bring the cell to the size that it has in training, on a ground of the background."""
    zoom = CELL_IN_TRAINING / CELL_HERE
    rows, columns = (
        round(side * zoom * new / frame)
        for side, new, frame in zip(image.shape[:2], size, TRAINING_FRAME, strict=True)
    )
    small = resize(image, (min(rows, size[0]), min(columns, size[1])))
    ground = np.empty((*size, 3), np.uint8)
    ground[:] = np.round(background(image) if ground_colour is None else ground_colour)
    top, left = ((new - old) // 2 for new, old in zip(size, small.shape[:2], strict=True))
    ground[top : top + small.shape[0], left : left + small.shape[1]] = small
    return ground


def whitened(image: np.ndarray) -> np.ndarray:
    """Scale the channels so that the background gets the colour of the training photos'."""
    scaled = image * (WHITE / np.maximum(background(image), 1))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def measure(
    model: OnnxClassifier, images: list[np.ndarray], labels: list[str]
) -> dict[str, dict[str, Any]]:
    """Score one model on the crops in each of the three ways."""
    ways = {
        "squeezed": [resize(image, model.size) for image in images],
        "at scale": [at_scale(image, model.size) for image in images],
        "at scale, white ground": [at_scale(whitened(image), model.size) for image in images],
    }
    crops = pd.DataFrame({"path": range(len(labels)), "label": labels, "cell": pd.NA})
    found = {}
    for name, prepared in ways.items():
        verdicts = [model(image[None]) for image in prepared]
        probs = np.concatenate([verdict.pred_probs for verdict in verdicts])
        scores = score(to_predictions(crops, probs, model.classes))
        interval = scores["intervals"]["macro_f1"]
        flagged = np.mean([verdict.statuses[0] != "ok" for verdict in verdicts])
        found[name] = {
            "n_images": len(labels),
            "macro_f1": scores["macro_f1"],
            "low": interval["low"],
            "high": interval["high"],
            "accuracy": scores["accuracy"],
            "not_ok": float(flagged),
            "per_class": {label: found["f1"] for label, found in scores["per_class"].items()},
        }
    return found


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="the set's zip file")
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL.onnx")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    images, labels = read_set(options.archive)
    found, checksums = {}, {}
    for pair in options.models:
        name, _, path = pair.partition("=")
        model = OnnxClassifier.load(path)
        found[name] = measure(model, images, labels)
        checksums[name] = model.meta["sha256"]
        print(f"{name}\n{pd.DataFrame(found[name]).T.to_string()}", flush=True)
    if options.json:
        write_text(options.json, dump_json({"sha256": checksums, "models": found}))


if __name__ == "__main__":
    main()
