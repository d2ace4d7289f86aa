"""Train the model of `hv predict` for cells of any laboratory; the same command goes on.

    python scripts/train_travelling.py --kaggle blood-cells.zip --pbc PBC_dataset.zip

Makes the standard views of both laboratories, trains on them twice, for 16 and for 30 passes,
exports and calibrates the mean of both. `ship_model.py` makes it what `hv predict` uses. About two
hours on one core.
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
from hv_utils.network.travelling import ViewTraining, mean_of, train
from hv_utils.network.travelling_export import finish
from hv_utils.network.views import stored_views

TRAININGS = (ViewTraining(), ViewTraining(passes=30, small_passes=20))


def folder_of(folder: Path, settings: ViewTraining) -> Path:
    """Return where the state of one of the trainings is kept."""
    return folder / f"{settings.passes}-passes"


def record(folder: Path, target: Path, about: dict) -> None:
    """Write under results/ what a training was made of and how it went; no pixels, no paths."""
    history = {}
    for settings in TRAININGS:
        place = folder_of(folder, settings)
        history[place.name] = json.loads((place / "history.json").read_text(encoding="utf-8"))
    seconds = round(sum(row["seconds"] for rows in history.values() for row in rows))
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
        models = [
            train(views, KINDS, settings, folder_of(options.folder, settings))
            for settings in TRAININGS
        ]
        model = mean_of(models, views, TRAININGS[0])
        path = finish(model, views, KINDS, TRAININGS[0], options.folder)
        if options.record:
            about = {"trainings": [asdict(settings) for settings in TRAININGS]}
            about["data"] = {name: facts for name, (_, facts) in places.items()}
            about["views"] = {" ".join(key): int(count) for key, count in counts.items()}
            record(options.folder, options.record, about)
    except HematoVisionError as error:
        parser.exit(1, f"train_travelling: {error}\n")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
