"""A small run on drawn cells, as far as `hv versus` needs one: tables and pictures."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from hv_utils.drawn.smear import draw_photo
from hv_utils.ground.runs import Run
from hv_utils.images.labels import CLASSES

CELLS = {"eosinophil": 4, "lymphocyte": 3, "monocyte": 2, "neutrophil": 5}
COPIES = 2


def make_drawn_run(folder: Path) -> Run:
    """Draw test cells, two pictures of each; the first cell of each class is judged wrongly."""
    run = Run.open(folder)
    rows = []
    for label, count in CELLS.items():
        for number in range(count):
            cell = f"{len(rows) // COPIES:05d}"
            rng = np.random.default_rng(len(rows))
            image = draw_photo(label, rng=rng, size=(240, 320)).image
            wrong = CLASSES[(CLASSES.index(label) + 1) % 4]
            for copy in range(COPIES):
                path = run.path(f"TEST/{label.upper()}/_{copy}_{cell}.jpeg")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image[:, :: 1 - 2 * copy]).save(path)
                row = {"path": str(path), "label": label, "cell": cell, "group": cell}
                row |= {"predicted": label if number else wrong, "visible": 1 - 0.5 * copy}
                rows.append(row)
    test = pd.DataFrame(rows)
    probs = {f"prob_{name}": 0.1 + 0.6 * (test["predicted"] == name) for name in CLASSES}
    columns = ["path", "label", "cell"]
    run.write_table("predictions.csv", test[columns].assign(**probs, predicted=test["predicted"]))
    images = test.drop(columns="predicted").assign(split="test", drawn_as=test["label"])
    learnt = pd.DataFrame({"cell": ["00100", "00101", "00101", "00102"]})
    learnt["split"] = ["train", "train", "train", "val"]
    images = pd.concat([learnt.assign(path=[f"{n}.jpeg" for n in range(4)]), images])
    run.write_table("images.csv", images.assign(source="demo"))
    return run


def edit(run: Run, name: str, change) -> None:
    """Change a table of a run."""
    run.write_table(name, change(run.read_table(name)))
