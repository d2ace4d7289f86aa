"""Train the model of `hv predict` for cells of any laboratory; the same command goes on.

    python scripts/train_travelling.py --kaggle blood-cells.zip --pbc PBC_dataset.zip

Makes the standard views of both laboratories, trains on them, exports and calibrates the model.
`ship_model.py` makes it what `hv predict` uses. About 80 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import cv2

from hv_utils.data.archive import open_archive
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import environment, git_commit
from hv_utils.images.labels import KINDS
from hv_utils.network.laboratories import LABORATORIES
from hv_utils.network.travelling import ViewTraining, train
from hv_utils.network.travelling_export import finish
from hv_utils.network.views import stored_views


def record(folder: Path, target: Path, about: dict) -> None:
    """Write under results/ what a training was made of and how it went; no pixels, no paths."""
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    seconds = round(sum(row["seconds"] for row in history))
    made = {"commit": git_commit(), **environment(), "seconds_training": seconds}
    write_text(target / "manifest.json", dump_json({**about, **made}))
    write_text(target / "history.json", dump_json(history))


def main() -> None:
    """Train what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kaggle", type=Path, required=True, help="archive or folder of the set")
    parser.add_argument("--pbc", type=Path, required=True, help="archive or folder of PBC")
    parser.add_argument("--folder", type=Path, default=Path("runs/travelling"))
    parser.add_argument("--laboratories", default="kaggle,pbc", help="to learn from")
    parser.add_argument("--record", type=Path, help="write history and manifest there")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        names = options.laboratories.split(",")
        places = {name: open_archive(getattr(options, name)) for name in names}
        cells = {name: LABORATORIES[name](places[name][0]) for name in names}
        views = stored_views(cells, options.folder / "views")
        counts = views.table.groupby(["laboratory", "part", "label"]).size()
        settings = ViewTraining()
        model = train(views, KINDS, settings, options.folder)
        path = finish(model, views, KINDS, settings, options.folder)
        if options.record:
            about = {"settings": asdict(settings), "data": {n: f for n, (_, f) in places.items()}}
            about["views"] = {" ".join(key): int(count) for key, count in counts.items()}
            record(options.folder, options.record, about)
    except HematoVisionError as error:
        parser.exit(1, f"train_travelling: {error}\n")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
