"""Train the detector of white cells, red cells and platelets; the same command goes on.

    python scripts/train_detector.py --archive blood-cells.zip --record results/detector

Learns from the boxes of the set's photographs and from drawn fields, whose boxes are exact.
Photographs behind the official TEST, and those that show a part of their fields, stay out; a tenth
of the others chooses the passes and the thresholds, a fifth is for `measure_detector.py`. About 40
minutes on two cores, 2 on a GPU (`KERAS_BACKEND=jax` or `torch`).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from hv_utils.data.archive import open_archive
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import environment
from hv_utils.network.detecting import DetectorTraining, finish, train
from hv_utils.network.field_truth import drawn_fields, photographed_fields


def main() -> None:
    """Train what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True, help="archive or folder of the set")
    parser.add_argument("--folder", type=Path, default=Path("runs/detector"))
    parser.add_argument("--passes", type=int, default=DetectorTraining.passes)
    parser.add_argument("--drawn", type=int, default=40, help="drawn fields to learn from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="write history and manifest there")
    options = parser.parse_args()
    settings = DetectorTraining(passes=options.passes, seed=options.seed)
    try:
        root, data = open_archive(options.archive)
        parts = photographed_fields(root)
        learnt = [*parts["train"], *drawn_fields(options.drawn, seed=options.seed)]
        model, history = train(learnt, parts["val"], settings, options.folder)
        path = finish(model, parts["val"], options.folder)
    except HematoVisionError as error:
        parser.exit(1, f"train_detector: {error}\n")
    if options.record:
        about = {"settings": asdict(settings), "data": data, "drawn": options.drawn}
        about["fields"] = {name: len(fields) for name, fields in parts.items()}
        made = environment() | {"seconds_training": round(sum(row["seconds"] for row in history))}
        write_text(options.record / "manifest.json", dump_json({**about, **made}))
        write_text(options.record / "history.json", dump_json(history))
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
