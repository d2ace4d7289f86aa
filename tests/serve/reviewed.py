"""Drawn fields with made-up verdicts, for tests of the review."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from hv_utils.drawn.smear import draw_photo
from hv_utils.fields.finder import find_cells
from hv_utils.fields.view import by_prominence
from hv_utils.images.labels import CLASSES

COLUMNS = ["path", "predicted", "confidence", "status", *(f"prob_{name}" for name in CLASSES)]
COLUMNS += ["cell", "x", "y", "set", "why"]


def draw_fields(folder: Path, count: int, seed: int = 0) -> list[tuple[Path, str, float, float]]:
    """Draw `count` fields and return path, class and middle of each one's cell."""
    drawn = []
    for number in range(count):
        label = CLASSES[number % len(CLASSES)]
        photo = draw_photo(label, rng=np.random.default_rng((seed, number)))
        cell = by_prominence(find_cells(photo.image))[0]
        path = folder / f"{seed}-{number:03d}.jpg"
        Image.fromarray(photo.image).save(path, quality=90)
        drawn.append((path, label, round(cell.x, 1), round(cell.y, 1)))
    return drawn


def rows_of(drawn, seed: int = 0) -> list[dict]:
    """Make up a verdict for each: mostly right, every fifth unsure."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, (path, label, x, y) in enumerate(drawn):
        probs = dict.fromkeys(CLASSES, 0.02)
        predicted = label if number % 7 else CLASSES[(CLASSES.index(label) + 1) % 4]
        probs[predicted] = sure = round(float(rng.uniform(0.4, 0.94)), 3)
        row = {"path": path, "predicted": predicted, "confidence": sure, "cell": 1, "x": x, "y": y}
        row |= {"status": "unsure" if number % 5 == 4 else "ok", "set": predicted, "why": ""}
        rows.append(row | {f"prob_{name}": share for name, share in probs.items()})
    return rows


def write_table(path: Path, rows: list[dict], columns=COLUMNS) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path
