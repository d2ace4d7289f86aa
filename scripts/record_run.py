"""Record a finished run under results/: its numbers and where they came from, no pixels, no paths.

Usage: python scripts/record_run.py runs/kaggle results/kaggle
"""

import sys
from pathlib import Path

import pandas as pd

from hv_utils.data.kaggle import find_folder
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import Run

NUMBERS = ("metrics", "gradcam", "prediction", "preprocessing", "leak", "ablations", "audit")


def plain(value: object, root: str) -> object:
    """Return `value` with paths reduced to what lies below the data's or the run's folder."""
    if isinstance(value, dict):
        return {key: plain(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, root) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        return (
            value.removeprefix(root).lstrip("/")
            if value.startswith(root)
            else "/".join(Path(value).parts[-2:])
        )
    return value


def main(run_dir: str, target: str) -> None:
    """Copy the numbers of the run `run_dir` into the folder `target`."""
    run, folder = Run.open(run_dir), Path(target)
    first = run.read_table("images.csv").query("split == 'test'")["path"].iloc[0]
    root = str(find_folder(Path(first).parents[2], "TRAIN").parent)
    for name in NUMBERS:
        if run.path(f"{name}.json").exists():
            write_text(
                folder / f"{name}.json", dump_json(plain(run.read_json(f"{name}.json"), root))
            )
    manifest = run.manifest
    for made in filter(None, (manifest, *manifest["steps"].values())):
        words = made["command"].split()
        made["command"] = " ".join(Path(w).name if w.startswith(("/", "..")) else w for w in words)
    write_text(folder / "manifest.json", dump_json(plain(manifest, root)))
    params = run.read_json("params.json")
    write_text(folder / "params.json", dump_json(plain(params, root)))
    history = run.read_table("history.csv").astype(object)
    rows = history.where(history.notna(), None).to_dict("records")
    write_text(folder / "history.json", dump_json(rows))
    for name in ("predictions", "predictions-val"):
        table = run.read_table(f"{name}.csv")
        table["path"] = table["path"].str.removeprefix(root + "/")
        probabilities = [column for column in table if column.startswith("prob_")]
        table[probabilities] = table[probabilities].round(4)
        write_text(folder / f"{name}.csv", table.to_csv(index=False))
    counts = pd.read_csv(folder / "predictions.csv")["label"].value_counts().to_dict()
    print(f"{folder}: {counts}")


if __name__ == "__main__":
    main(*sys.argv[1:])
