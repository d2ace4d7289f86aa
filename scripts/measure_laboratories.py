"""Measure models as `hv predict` runs them on the cells of four laboratories.

    python scripts/measure_laboratories.py FOLDER [MODEL.onnx …] [--test]
        [--json results/laboratories.json] [--record FOLDER]

FOLDER holds the unpacked sets, each in a folder of its archive's name: `blood-cells`, `pbc-part`,
`raabin-part`, `wbc-masks-1`; one that is not there is left out. Of the Kaggle set the validation
copies are judged; with --test the official TEST, once, at the end. Of PBC its test part, of the two
others, which no model has seen, all. A picture with several cells counts by its most prominent one,
one without a cell as wrong. Scores are of the four kinds of the report and of all; "choice of four"
compares with models that know no others. Intervals resample what belongs together: fields of the
Kaggle set, smears of Raabin, single pictures elsewhere.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from hv_utils.data.kaggle import find_folder
from hv_utils.data.source_map import read_source_map
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.predictions import prob_columns
from hv_utils.ground.runs import environment
from hv_utils.images.labels import CLASSES
from hv_utils.inference.onnx_model import SHIPPED_MODEL
from hv_utils.inference.predict import TRAVELLING_MODEL, open_classifier, predict_rows
from hv_utils.inference.preparation import preparation_of
from hv_utils.network.laboratories import kaggle_cells, pbc_cells
from hv_utils.scores.bootstrap import mean_interval
from hv_utils.scores.metrics import score

ZHENG = {"1": "neutrophil", "2": "lymphocyte", "3": "monocyte", "4": "eosinophil", "5": "basophil"}


def kaggle_validation(root: Path) -> pd.DataFrame:
    """List the validation copies."""
    return kaggle_cells(root).query("part == 'val'")


def kaggle_test(root: Path) -> pd.DataFrame:
    """List the copies of the official TEST; fields known to be in TRAIN, too, stay in."""
    table = read_source_map()
    table = table[table["path"].str.startswith("TEST/")]
    images = find_folder(root, "TEST").parent
    return pd.DataFrame(
        {
            "path": [images / path for path in table["path"]],
            "label": table["path"].str.split("/").str[1].str.lower(),
            "group": table["photo"],
        }
    )


def pbc_test(root: Path) -> pd.DataFrame:
    """List the test part of PBC."""
    return pbc_cells(root).query("part == 'test'")


def raabin(root: Path) -> pd.DataFrame:
    """List the crops of Raabin; the name up to the first `_` is the smear."""
    paths = sorted(root.rglob("*.jpg"))
    rows = [(path, path.parent.name.lower(), path.name.split("_")[0]) for path in paths]
    return pd.DataFrame(rows, columns=["path", "label", "group"])


def zheng(root: Path) -> pd.DataFrame:
    """List the crops of Zheng et al. that have a label."""
    with (root / "Class Labels of Dataset 1.csv").open() as file:
        pairs = [tuple(value.strip() for value in row.values()) for row in csv.DictReader(file)]
    rows = [(root / f"Dataset 1/{int(n):03d}.bmp", ZHENG[label], n) for n, label in pairs]
    return pd.DataFrame(rows, columns=["path", "label", "group"])


SETS: dict[str, tuple[str, Callable[[Path], pd.DataFrame]]] = {
    "kaggle validation": ("blood-cells", kaggle_validation),
    "pbc held out": ("pbc-part", pbc_test),
    "raabin": ("raabin-part", raabin),
    "zheng 1": ("wbc-masks-1", zheng),
}
TEST = {"kaggle TEST": ("blood-cells", kaggle_test)}


def judge(cells: pd.DataFrame, model: Path) -> pd.DataFrame:
    """Return the most prominent cell's row of each picture, with label and group as `cell`."""
    classify, meta = open_classifier(model)
    rows = predict_rows(
        list(cells["path"]),
        classify,
        classes=meta["classes"],
        size=tuple(meta["size"]),
        prepare=preparation_of(meta),
        batch_size=4,
        workers=meta["workers"],
    )
    first = pd.DataFrame([{**row, "view": None} for row in rows]).drop_duplicates("path")
    if (bad := first["status"] == "unreadable").any():
        raise HematoVisionError(first.loc[bad, "reason"].iloc[0])
    first = first.drop(columns=["view", "reason"]).reset_index(drop=True)
    first["label"], first["cell"] = list(cells["label"]), list(cells["group"].astype(str))
    names = prob_columns(meta["classes"])
    for row in first.index[first[names].isna().any(axis=1)]:  # no cell was found: wrong
        wrong = next(n for n in meta["classes"] if n != first.at[row, "label"])
        first.loc[row, names] = [float(name == wrong) for name in meta["classes"]]
    return first


def scores_of(table: pd.DataFrame, kinds: tuple[str, ...], *, bound: bool = False) -> dict:
    """Score the pictures of some kinds; `bound` leaves the choice among these alone."""
    table = table[table["label"].isin(kinds)]
    if bound:
        names = prob_columns(kinds)
        probs = np.clip(table[names].to_numpy(float), 1e-9, None)
        probs /= probs.sum(axis=1, keepdims=True)
        table = table[["label", "cell"]].assign(**dict(zip(names, probs.T, strict=True)))
    found = score(table)
    keys = ("n_images", "n_cells", "accuracy", "macro_f1", "confusion_matrix", "classes")
    report = {key: found[key] for key in keys} | {"interval": found["intervals"]["macro_f1"]}
    report["per_class"] = {n: s for n, s in found["per_class"].items() if s["support"]}
    if found["per_cell"]:
        right = found["per_cell"]["accuracy"] * found["n_cells"]
        report["cells_right"] = round(right)
    return report


def measure(table: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """Score a set, and how often its verdicts are ok and then right."""
    four = tuple(name for name in CLASSES if name in classes)
    kinds = tuple(sorted(set(table["label"]) & set(classes)))
    report = {"four": scores_of(table, four)}
    if len(classes) > len(four):
        report["choice of four"] = scores_of(table, four, bound=True)
        report["all"] = scores_of(table, kinds)
    known = table[table["label"].isin(kinds)]
    ok = (known["status"] == "ok").to_numpy(float)
    right = (known["predicted"] == known["label"]).to_numpy(float)
    report["ok"] = {"share": float(ok.mean()), **mean_interval(ok, known["cell"])}
    answered = np.where(ok == 1, right, np.nan)
    mean = float(np.nanmean(answered)) if ok.any() else None
    report["right of ok"] = {"share": mean, **mean_interval(answered, known["cell"])}
    report["statuses"] = known["status"].value_counts().to_dict()
    return report


def predictions_csv(judged: pd.DataFrame) -> str:
    """Return the verdicts as the records of other runs have them, paths from TEST on."""
    names = ["path", "label", "cell", *judged.filter(like="prob_").columns, "predicted"]
    paths = ["/".join(Path(path).parts[-3:]) for path in judged["path"]]
    return judged.assign(path=paths)[names].round(4).to_csv(index=False)


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--test", action="store_true", help="read the official TEST, nothing else")
    parser.add_argument("--record", type=Path, help="with --test: folder for predictions.csv")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.record and not options.test:
        parser.error("expected --test beside --record, since verdicts on TEST alone are recorded")
    cv2.setNumThreads(1)
    report: dict[str, Any] = {"environment": environment(), "models": {}}
    for model in options.models or (TRAVELLING_MODEL, SHIPPED_MODEL):
        _, meta = open_classifier(model)
        found = report["models"][model.stem] = {"sha256": meta["sha256"], "sets": {}}
        for name, (folder, read) in (TEST if options.test else SETS).items():
            if not (options.folder / folder).is_dir():
                continue
            judged = judge(read(options.folder / folder), model)
            found["sets"][name] = one = measure(judged, list(meta["classes"]))
            if options.record:
                write_text(options.record / "predictions.csv", predictions_csv(judged))
            for way in ("four", "choice of four", "all"):
                if way in one:
                    low, high = (one[way]["interval"][end] for end in ("low", "high"))
                    print(f"{model.stem:14} {name:18} {way:15} macro-F1 {one[way]['macro_f1']:.3f}"
                          f" [{low:.3f} {high:.3f}]", flush=True)  # fmt: skip
            print(
                f"{'':14} ok {one['ok']['share']:.2f}, right of these {one['right of ok']['share']}"
            )
    if options.json:
        write_text(options.json, dump_json(report))


if __name__ == "__main__":
    main()
