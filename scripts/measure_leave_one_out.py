"""What does a laboratory teach, and what does it hide? Probes taught by one of two, and by both.

    python scripts/measure_leave_one_out.py FOLDER [--most 200]
        [--json results/leave-one-laboratory-out.json]

FOLDER as in `measure_laboratories.py`. The features are those of EfficientNet-Lite0 as trained on
ImageNet, which has seen no laboratory; on them a logistic regression learns the report's four
kinds from at most so many cells a kind of the Kaggle set, of PBC, and of both (half of each). It
is judged on the validation copies of the one, the test part of the other, and on Raabin and Zheng
1, which taught nothing. Pictures are prepared in four ways: the whole
resized, as the report does; each cell found and brought to one scale; its ground made neutral; and
its nuclear stain given one hue. Intervals resample groups.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from measure_laboratories import kaggle_validation, pbc_test, raabin, zheng

from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.predictions import to_predictions
from hv_utils.ground.runs import environment
from hv_utils.images.labels import CLASSES
from hv_utils.images.reading import read_image
from hv_utils.network.laboratories import kaggle_cells, pbc_cells
from hv_utils.scores.metrics import score
from hv_utils.studies.travel import WAYS, features_of, probe

TAUGHT = {"kaggle": ("kaggle",), "pbc": ("pbc",), "both": ("kaggle", "pbc")}


def some(cells: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most so many cells of each kind, groups in turn."""
    cells = cells[cells["label"].isin(CLASSES)]
    turn = cells.groupby(["label", "group"]).cumcount()
    ordered = cells.assign(turn=turn).sort_values("turn", kind="stable")
    return ordered.groupby("label").head(most).reset_index(drop=True)


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=200, help="cells a kind that teach")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    root = options.folder
    teaching = {
        "kaggle": kaggle_cells(root / "blood-cells").query("part == 'train'"),
        "pbc": pbc_cells(root / "pbc-part").query("part == 'train'"),
    }
    judged = {
        "kaggle validation": kaggle_validation(root / "blood-cells"),
        "pbc held out": pbc_test(root / "pbc-part"),
        "raabin": raabin(root / "raabin-part"),
        "zheng 1": zheng(root / "wbc-masks-1"),
    }
    teaching = {name: some(cells, options.most) for name, cells in teaching.items()}
    judged = {name: some(cells, 10**6) for name, cells in judged.items()}
    known, asked = (
        {name: features_of(map(read_image, cells["path"])) for name, cells in part.items()}
        for part in (teaching, judged)
    )
    report: dict[str, Any] = {"environment": environment(), "most": options.most, "scores": []}
    for way in WAYS:
        for taught, names in TAUGHT.items():
            share = options.most // len(names)
            parts = [some(teaching[n].assign(at=range(len(teaching[n]))), share) for n in names]
            x = np.concatenate([known[n][way][p["at"]] for n, p in zip(names, parts, strict=True)])
            model = probe(x, np.concatenate([part["label"] for part in parts]))
            for name, cells in judged.items():
                probs = model.predict_proba(asked[name][way])
                table = cells.assign(cell=cells["group"].astype(str))[["path", "label", "cell"]]
                found = score(to_predictions(table, probs, list(model.classes_)))
                row = {"prepared": way, "taught": taught, "judged": name}
                row |= {"macro_f1": found["macro_f1"], **found["intervals"]["macro_f1"]}
                row |= {"n_images": len(cells), "n_groups": found["n_cells"], "n_taught": len(x)}
                row["per_class"] = {k: v["f1"] for k, v in found["per_class"].items()}
                report["scores"].append(row)
                print(f"{way:22} {taught:7} {name:18} {row['macro_f1']:.3f}"
                      f" [{row['low']:.3f} {row['high']:.3f}]", flush=True)  # fmt: skip
    if options.json:
        write_text(options.json, dump_json(report))


if __name__ == "__main__":
    main()
