"""Measure how often `hv predict` says "not a cell" or "not sure", and how often it should have.

    python scripts/measure_novelty.py MODEL.onnx ARCHIVE [--json results/novelty.json]

ARCHIVE is the unpacked real data set. Groups that should be let through: test images. Groups that
should not: photos of basophils, photos whose label names several cells, fields without a white
cell (cut from the photos beside the white cell's box), noise, and photographs of other things
(scikit-learn's and Matplotlib's sample images, whole and in tiles).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from hv_utils.ground.files import dump_json, write_text
from hv_utils.images.reading import read_image, resize
from hv_utils.images.voc import WHITE_CELL, read_boxes
from hv_utils.inference.onnx_model import STATUSES, OnnxClassifier

FIELD = (240, 320)  # half a photo's side: a red-cell field as large as the margin allows
PER_GROUP = 200


def photos_of(root: Path, wanted: str) -> Iterator[np.ndarray]:
    """Yield the photos whose label is a basophil's (`basophil`) or names several cells."""
    (folder,) = {path.parent for path in root.rglob("BloodImage_00000.jpg")}
    table = pd.read_csv(next(root.rglob("labels.csv")), dtype=str)
    category = table["Category"].fillna("")
    several = category.str.contains(",")
    chosen = several if wanted == "several cells" else category.str.upper().eq("BASOPHIL")
    for number in table.loc[chosen, "Image"]:
        path = folder / f"BloodImage_{int(number):05d}.jpg"
        if path.exists():
            yield read_image(path)


def empty_fields(root: Path) -> Iterator[np.ndarray]:
    """Yield corners of the photos, a quarter of their area, that no white cell's box touches."""
    for path in sorted(root.rglob("BloodImage_*.xml")):
        boxes = [box for box in read_boxes(path) if box.name == WHITE_CELL]
        photo = path.parent.parent / "JPEGImages" / f"{path.stem}.jpg"
        if not boxes or not photo.exists():
            continue
        image = read_image(photo)
        height, width = FIELD
        for top in (0, image.shape[0] - height):
            for left in (0, image.shape[1] - width):
                if all(
                    box.xmax <= left
                    or box.xmin >= left + width
                    or box.ymax <= top
                    or box.ymin >= top + height
                    for box in boxes
                ):
                    yield image[top : top + height, left : left + width]


def noise(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield white noise and smooth noise by turns, without end."""
    while True:
        yield rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
        yield resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (240, 320))


def other_things() -> Iterator[np.ndarray]:
    """Yield photographs that come with scikit-learn and Matplotlib, whole and in tiles."""
    from matplotlib.cbook import get_sample_data
    from sklearn.datasets import load_sample_images

    photos = list(load_sample_images().images)
    with get_sample_data("grace_hopper.jpg") as file:
        photos.append(read_image(file.name))
    for photo in photos:
        yield photo
        for top in range(0, photo.shape[0] - 160, 160):
            for left in range(0, photo.shape[1] - 213, 213):
                yield photo[top : top + 160, left : left + 213]


def rates(model: OnnxClassifier, images: Iterator[np.ndarray]) -> dict[str, float]:
    """Return the share of each status among the first images of a group, and their number."""
    counts: Counter = Counter()
    for _, image in zip(range(PER_GROUP), images, strict=False):
        counts.update(model(resize(image, model.size)[None]).statuses)
    total = sum(counts.values())
    return {"n": total, **{name: counts[name] / max(total, 1) for name in STATUSES[:3]}}


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("archive", type=Path, help="the unpacked real data set")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model, root = OnnxClassifier.load(options.model), options.archive
    rng = np.random.default_rng(0)
    tests = np.array(sorted(root.rglob("TEST/*/*.jpeg")))
    groups = {
        "test images (should pass)": (read_image(path) for path in rng.permutation(tests)),
        "basophils": photos_of(root, "basophil"),
        "several cells": photos_of(root, "several cells"),
        "fields without a white cell": empty_fields(root),
        "noise": noise(rng),
        "photographs of other things": other_things(),
    }
    found = {name: rates(model, images) for name, images in groups.items()}
    print(pd.DataFrame(found).T.to_string(float_format=lambda value: f"{value:.3f}"))
    if options.json:
        write_text(options.json, dump_json({"model": model.meta["sha256"], "groups": found}))


if __name__ == "__main__":
    main()
