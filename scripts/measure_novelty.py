"""Measure how well the shipped models tell what they were not made for, as benchmarks do.

    python scripts/measure_novelty.py FOLDER [--json results/novelty.json]

FOLDER as in `measure_laboratories.py`. Each model judges pictures of what it knows, none of which
it has learnt (validation copies of the Kaggle set, held-out pictures of PBC), and groups of others:
*shifted*, the same kinds from another laboratory; *near*, cells of other kinds (all of PBC, so they
are compared with PBC's known kinds, too); *far*, fields without a white cell, noise, and
photographs of other things (scikit-learn's and Matplotlib's sample images, whole and in tiles). For
each group: how often each status is given, and for each score the AUROC and the false positives at
95 %, with intervals. A picture in which no cell is found is stranger than all others.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from measure_laboratories import SETS
from scipy.special import logsumexp

from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import environment
from hv_utils.images.labels import CLASSES
from hv_utils.images.reading import read_image, resize
from hv_utils.images.voc import WHITE_CELL, read_boxes
from hv_utils.inference.onnx_model import SHIPPED_MODEL, STATUSES, OnnxClassifier
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.inference.preparation import preparation_of
from hv_utils.scores.separation import separation

FIELD = (240, 320)  # half a photo's side: a red-cell field as large as the margin allows
PER_GROUP = 200
SAME_LABORATORY = "shifted: pbc held out"


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


def drawn(cells: pd.DataFrame, *kinds: str) -> pd.DataFrame:
    """Draw `PER_GROUP` pictures of some kinds, or of all."""
    rows = cells[cells["label"].isin(kinds)] if kinds else cells
    return rows.sample(min(PER_GROUP, len(rows)), random_state=0)


def saved(pictures: Iterable[np.ndarray], folder: Path) -> pd.DataFrame:
    """Write the first pictures into a folder, and list them, each a group by itself."""
    folder.mkdir()
    paths = []
    for number, picture in enumerate(islice(pictures, PER_GROUP)):
        paths.append(folder / f"{number:03d}.png")
        cv2.imwrite(str(paths[-1]), picture[..., ::-1])
    return pd.DataFrame({"path": paths, "group": range(len(paths))})


def groups_of(root: Path, place: Path) -> dict[str, dict[str, pd.DataFrame]]:
    """List the pictures of each group for each model; the first of each is what it knows."""
    sets = {name: read(root / folder) for name, (folder, read) in SETS.items()}
    bccd, pbc = root / "blood-cells", sets["pbc held out"]
    near = {
        f"near: {name}": drawn(pbc, kind)
        for name, kind in (
            ("basophils", "basophil"),
            ("immature granulocytes", "ig"),
            ("erythroblasts", "erythroblast"),
        )
    }
    far = {
        "far: fields without a white cell": empty_fields(bccd),
        "far: noise": noise(np.random.default_rng(0)),
        "far: photographs of other things": other_things(),
    }
    far = {name: saved(found, place / f"far-{at}") for at, (name, found) in enumerate(far.items())}
    abroad = {f"shifted: {name}": drawn(sets[name], *CLASSES) for name in ("raabin", "zheng 1")}
    whole = {
        f"of this set: {name}": saved(photos_of(bccd, name), place / name)
        for name in ("basophil", "several cells")
    }
    return {
        "hematovision": {
            "known": drawn(sets["kaggle validation"]),
            **whole,
            SAME_LABORATORY: drawn(pbc, *CLASSES),
            **abroad,
            **near,
            **far,
        },
        "travelling": {
            "known": pd.concat([drawn(pbc), drawn(sets["kaggle validation"])]),
            **abroad,
            **far,
        },
    }


SCORES: dict[str, Callable[[OnnxClassifier, np.ndarray, np.ndarray], np.ndarray]] = {
    "distance": lambda model, _, features: model.novelty.score(features),
    "confidence": lambda model, logits, _: 1 - model.probabilities(logits).max(axis=1),
    "energy": lambda model, logits, _: -logsumexp(logits, axis=1),
    "presence": lambda model, _, features: -model.presence.score(features),
}


def judge(model: OnnxClassifier, pictures: pd.DataFrame) -> pd.DataFrame:
    """Return the status and the scores of each picture's most prominent cell."""
    prepare, rows = preparation_of(model.meta), []
    names = [name for name in SCORES if name != "presence" or model.presence is not None]
    for path in pictures["path"]:
        shown = prepare(path)[0]
        if shown.image is None:
            rows.append({"status": shown.status, **dict.fromkeys(names, np.inf)})
            continue
        logits, maps = model.run(shown.image[None])
        features = maps.mean(axis=(1, 2))
        scores = {name: float(SCORES[name](model, logits, features)[0]) for name in names}
        rows.append({"status": model(shown.image[None]).statuses[0], **scores})
    return pd.DataFrame(rows).assign(group=list(pictures["group"].astype(str)))


def compare(model: OnnxClassifier, groups: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Judge all groups, and compare each with what is known."""
    judged = {name: judge(model, pictures) for name, pictures in groups.items()}
    report = {}
    for name, rows in judged.items():
        shares = rows["status"].value_counts(normalize=True)
        one = report[name] = {"n": len(rows), **{s: float(shares.get(s, 0)) for s in STATUSES[:3]}}
        if name == "known":
            continue
        one["scores"] = separations(judged["known"], rows)
        if name.startswith("near"):
            one["within"] = separations(judged[SAME_LABORATORY], rows)
        best = {score: round(found["auroc"]["value"], 3) for score, found in one["scores"].items()}
        print(f"{name:36} not_a_cell {one['not_a_cell']:.2f}  AUROC {best}", flush=True)
    return report


def separations(known: pd.DataFrame, strange: pd.DataFrame) -> dict[str, Any]:
    """Return how well each score parts two groups."""
    groups = {"known_cells": known["group"], "strange_cells": strange["group"]}
    return {
        name: separation(known[name], strange[name], n_resamples=500, **groups)
        for name in SCORES
        if name in strange
    }


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    report: dict[str, Any] = {"environment": environment(), "models": {}}
    with tempfile.TemporaryDirectory() as place:
        every = groups_of(options.folder, Path(place))
        for path in (SHIPPED_MODEL, TRAVELLING_MODEL):
            model = OnnxClassifier.load(path)
            print(path.stem, f"known: {len(every[path.stem]['known'])}")
            groups = compare(model, every[path.stem])
            report["models"][path.stem] = {"sha256": model.meta["sha256"], "groups": groups}
    if options.json:
        write_text(options.json, dump_json(report))


if __name__ == "__main__":
    main()
