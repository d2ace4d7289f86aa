"""Measure where a model looks on cells whose nuclei experts have outlined: Zheng et al. (2018).

    python scripts/measure_attention.py ARCHIVE.zip [--model MODEL.onnx] [--json FILE]

Grad-CAM maps of 300 crops of another laboratory, each brought to the size that cells have in
training. The outlines were drawn by experts; nothing was tuned on them. Intervals resample images,
which are of different cells. The keys are those of a run's gradcam.json.
"""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure_external import NAMES, at_scale
from PIL import Image

from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import environment
from hv_utils.inference.onnx_model import SHIPPED_MODEL, OnnxClassifier
from hv_utils.scores.bootstrap import mean_interval
from hv_utils.scores.verdicts import attention_verdict
from hv_utils.studies.gradcam_scores import CELL_FROM, NUCLEUS_FROM, random_map, score_map

TARGETS = ("nucleus", "cell")


def read_pairs(path: Path) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """Read crops, outlines (uint8 grey: 128 cytoplasm, 255 nucleus) and labels."""
    images, outlines, labels = [], [], []
    with zipfile.ZipFile(path) as archive:
        table = next(name for name in archive.namelist() if name.endswith("Dataset 1.csv"))
        for row in csv.DictReader(io.TextIOWrapper(archive.open(table))):
            number, label = (value.strip() for value in row.values())
            if label not in NAMES:
                continue
            image, outline = (
                Image.open(io.BytesIO(archive.read(f"Dataset 1/{int(number):03d}.{end}")))
                for end in ("bmp", "png")
            )
            images.append(np.array(image.convert("RGB")))
            outlines.append(np.array(outline.convert("RGB")))
            labels.append(NAMES[label])
    return images, outlines, labels


def score_crops(
    model: OnnxClassifier,
    images: list[np.ndarray],
    outlines: list[np.ndarray],
    labels: list[str],
    seed: int = 0,
) -> pd.DataFrame:
    """Score the map of each crop's own verdict, and a random map beside it."""
    rng = np.random.default_rng(seed)
    rows = []
    for image, outline, label in zip(images, outlines, labels, strict=True):
        logits, feature_map = model.run(at_scale(image, model.size)[None])
        chosen = logits.argmax(1)
        (heat,) = model.heat_maps(feature_map, chosen)
        grey = at_scale(outline, model.size, np.zeros(3))[..., 0]
        targets = {"nucleus": grey >= NUCLEUS_FROM, "cell": grey >= CELL_FROM}
        chance = score_map(random_map(heat.shape, rng, grid=heat.shape), targets)
        row = {"label": label, "predicted": model.classes[chosen[0]], **score_map(heat, targets)}
        drawn = {name: value for name, value in chance.items() if name[:4] in ("ener", "peak")}
        rows.append(row | {f"random_{name}": value for name, value in drawn.items()})
    return pd.DataFrame(rows)


def summary(found: pd.DataFrame) -> dict:
    """Return the means, the intervals of energy over area, and the verdict."""
    numbers = found.drop(columns=["label", "predicted"]).mean().to_dict()
    gains = {
        name: mean_interval(found[f"energy_{name}"] - found[f"area_{name}"], found.index)
        for name in TARGETS
    }
    ends = {name: [gain["low"], gain["high"]] for name, gain in gains.items()}
    return {
        "n_images": len(found),
        "share_right": float((found["label"] == found["predicted"]).mean()),
        **numbers,
        "gain_intervals": ends,
        "verdict": attention_verdict(numbers["energy_nucleus"], gains["nucleus"]),
    }


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="the set's zip file")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = OnnxClassifier.load(options.model)
    found = score_crops(model, *read_pairs(options.archive))
    right = found[found["label"] == found["predicted"]]
    result = {
        **summary(found),
        "of_those_judged_right": summary(right),
        "sha256": model.meta["sha256"],
        "environment": environment(),
    }
    text = dump_json(result)
    print(text)
    if options.json:
        write_text(options.json, text)


if __name__ == "__main__":
    main()
