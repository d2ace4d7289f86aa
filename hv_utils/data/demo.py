"""The source `demo`: the set in miniature, drawn into the run's folder, with its truth."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hv_utils.data import kaggle
from hv_utils.data.protocol import Place, Settings
from hv_utils.data.source_map import carry_boxes
from hv_utils.drawn.demo import make_demo

TAKES = ()
read = kaggle.read


def find(settings: Settings) -> Place:
    """Draw the demo, or find it as it was drawn before."""
    root = make_demo(settings.run.path("data"), seed=settings.seed, **settings.demo)
    return kaggle.place_of(root, {"archive": "drawn", "seed": settings.seed})


def attach(
    images: pd.DataFrame, place: Place, settings: Settings
) -> tuple[pd.DataFrame, list[str]]:
    """Add the demo's own record of each copy: its photo, field, box and mask, and what is drawn."""
    relative = [Path(path).relative_to(place.images).as_posix() for path in images["path"]]
    numbers = {"photo": "string", "field": "string"}
    truth = pd.read_csv(place.root / "truth" / "truth.csv", dtype=numbers)
    truth = truth.set_index("path").loc[relative].reset_index(drop=True)
    masks = place.root / "truth" / "masks"
    truth = truth.assign(
        cell=truth["photo"],
        group=truth["field"],
        mask=[str(masks / Path(name).with_suffix(".png")) for name in relative],
    )
    images = images.join(truth.drop(columns=["photo", "field"]))
    return carry_boxes(images, annotations=kaggle.find_folder(place.root, "Annotations")), []
