"""Check Grad-CAM, LIME and SHAP alike on cells whose nuclei experts have outlined: Zheng et al.

    python scripts/measure_explanations.py ARCHIVE.zip KAGGLE [--cells 16] [--deep 3]
        [--json results/explanations.json]

ARCHIVE.zip is Dataset 1 of Zheng et al. (2018), KAGGLE the unpacked Kaggle set. The home model
judges crops of another laboratory, each brought to the size that cells have in training; so many
are drawn of each class. The weights are shuffled from the output down to the last convolution for
all of them, and on down to the first for `--deep` of each class. *The same again* compares two
heads, taught by the recipe's first phase from two seeds on one frozen backbone, with copies of
TRAIN photographs: the backbone is shared, so the check is milder than two whole trainings would be.
Nothing was tuned on the crops. Intervals resample images, which are of different cells.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure_attention import read_pairs
from measure_external import at_scale

from hv_utils.ground.files import dump_json, fingerprint, write_text
from hv_utils.ground.runs import environment
from hv_utils.images.reading import read_resized
from hv_utils.inference.onnx_model import SHIPPED_MODEL
from hv_utils.network.heads import HeadTrainer
from hv_utils.network.judges import UPPER, Head, Judges, judges_of
from hv_utils.network.laboratories import kaggle_cells
from hv_utils.network.settings import HeadTraining
from hv_utils.studies import explanation_checks as checks
from hv_utils.studies.attributions import Asked, attributions
from hv_utils.studies.gradcam_scores import CELL_FROM, NUCLEUS_FROM
from hv_utils.studies.regions import EXTRA, cuts_of, fills

DEEP = ("block7a", "block4a", "stem")
SAMPLES, PIECES = 72, 24  # images for one explanation; superpixels asked for
TAUGHT = {"train": 200, "val": 60}  # copies of each class
PASSES, DROPOUT = 20, 0.3
SEED = 0


def heads_taught_twice(judges: Judges, root: Path) -> dict[str, Head]:
    """Teach two heads on the features of the trained network, from two seeds."""
    cells, classes = kaggle_cells(root), list(judges.classifier.classes)
    parts = []
    for part, n in TAUGHT.items():
        table = cells[cells["part"] == part]
        table = table.groupby("label").sample(n, random_state=SEED)
        images = np.stack([read_resized(path, judges.classifier.size) for path in table["path"]])
        labels = np.array([classes.index(label) for label in table["label"]])
        parts.append((judges.features(images), labels))
    settings = HeadTraining(epochs=PASSES)
    trainer = HeadTrainer(parts[0][0].shape[1], len(classes), settings)
    heads = {}
    for seed, name in enumerate(checks.AGAIN):
        weights = trainer.fit(*parts, dropout=DROPOUT, seed=seed).stopped
        right = (trainer.predict(weights, parts[1][0]).argmax(1) == parts[1][1]).mean()
        print(f"{name}: {right:.3f} of the validation copies right", flush=True)
        heads[name] = [(weights[0], weights[1]), (weights[2], weights[3])]
    return heads


def score_crops(
    near: Judges, deep: Judges, crops: pd.DataFrame, n_deep: int
) -> tuple[pd.DataFrame, int]:
    """Score the maps of each crop's own verdict; return how many had no nucleus in them, too."""
    size, classes, rows = near.classifier.size, near.classifier.classes, []
    skipped = 0
    for number, crop in enumerate(crops.itertuples()):
        image = at_scale(crop.image, size)
        grey = at_scale(crop.outline, size, np.zeros(3))[..., 0]
        targets = {"nucleus": grey >= NUCLEUS_FROM, "cell": grey >= CELL_FROM}
        if not targets["nucleus"].any():
            skipped += 1
            continue
        asked = Asked(near)
        index = int(asked(image[None])[0, 0].argmax())
        cuts = cuts_of(image, targets, PIECES)
        hidden_by = fills(image)
        options = {"fill": hidden_by["ground"], "n_samples": SAMPLES, "seed": number}
        found = attributions(asked, image, index, cuts, targets["cell"], **options)
        scored = checks.score_image(asked, image, index, found, targets, hidden_by, seed=number)
        if crop.number_in_class < n_deep:
            lower = attributions(Asked(deep), image, index, cuts, targets["cell"], **options)
            for row in scored:
                row |= checks.stability(lower[row["method"]], size)
        about = {"cell": str(crop.Index), "label": crop.label, "predicted": classes[index]}
        rows += [row | about for row in scored]
        print(f"{number + 1} of {len(crops)}", flush=True)
    return pd.DataFrame(rows), skipped


def drawn_crops(archive: Path, n: int) -> pd.DataFrame:
    """Draw crops evenly over the classes, in random order."""
    images, outlines, labels = read_pairs(archive)
    table = pd.DataFrame({"image": images, "outline": outlines, "label": labels})
    drawn = table.groupby("label", group_keys=False).sample(n, random_state=SEED)
    drawn["number_in_class"] = drawn.groupby("label").cumcount()
    return drawn.sample(frac=1, random_state=SEED)


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="the zip file of Zheng's set")
    parser.add_argument("kaggle", type=Path, help="folder with the unpacked Kaggle set")
    parser.add_argument("--cells", type=int, default=16, help="of each class")
    parser.add_argument("--deep", type=int, default=3, help="of each class, for the lower stages")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    near = judges_of(SHIPPED_MODEL, stages=UPPER, seed=SEED)
    near = near.with_heads(heads_taught_twice(near, options.kaggle))
    deep = judges_of(SHIPPED_MODEL, stages=DEEP, seed=SEED)
    crops = drawn_crops(options.archive, options.cells)
    scores, skipped = score_crops(near, deep, crops, options.deep)
    record: dict[str, Any] = {
        "command": "python scripts/measure_explanations.py wbc-masks-1.zip blood-cells "
        f"--cells {options.cells} --deep {options.deep} --json results/explanations.json",
        "seed": SEED,
        "n_samples": SAMPLES,
        "superpixels": PIECES,
        "without_nucleus": skipped,
        "share_right": float((scores["label"] == scores["predicted"]).mean()),
        **checks.as_record(scores),
        "again": "two heads on one frozen backbone",
        "data_sha256": {options.archive.name: fingerprint(options.archive)},
        "sha256": near.classifier.meta["sha256"],
        "versions": {name: version(name) for name in EXTRA},
        "environment": environment(),
    }
    print(checks.wide(pd.DataFrame(record["table"])).to_string())
    if options.json:
        write_text(options.json, dump_json(record))


if __name__ == "__main__":
    main()
