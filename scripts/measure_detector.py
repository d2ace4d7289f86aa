"""Measure the detector on fields that it has not learnt from, at home and abroad.

    python scripts/measure_detector.py --archive blood-cells.zip --draaslan draaslan.zip

At home: the fifth of the photographs that `train_detector.py` put aside; none behind the official
TEST. Abroad: the fields of draaslan, on which nothing was chosen. A find is right at an overlap of
0.5; for white cells the finder of crops is scored beside it, on the same fields, both by whether a
find's middle lies in the box. `strict` counts every find without a box as false, `inner` leaves
those out that the edge cuts off: many such cells have no box. Intervals resample photographs. Times
are of one thread. --json keeps the figures; --sheet draws red cells that were found where no box
is, to be looked at: it shows real pixels and is not for publication.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hv_utils.data.archive import open_archive
from hv_utils.fields.finder import find_cells
from hv_utils.fields.scale import measure_scale
from hv_utils.ground.files import dump_json, fingerprint, write_text
from hv_utils.ground.runs import environment
from hv_utils.images.reading import read_image
from hv_utils.inference.detector import DETECTOR, FIELD_KINDS, RED, WHITE, Detector, Finds
from hv_utils.network.field_truth import TrueField, photographed_fields
from hv_utils.scores.bootstrap import mean_interval
from hv_utils.scores.detection import Matched, detection_scores, match

EDGE = 2  # pixels: a box that ends there goes on beyond
KIND_OF = {"rbc": 1, "wbc": 0}
CELLS, SIDE = 100, 96  # of the sheet
LARGE = (3000, 4000)


def draaslan_fields(root: Path) -> list[TrueField]:
    """Read the fields of the other laboratory."""
    table = pd.read_csv(next(root.rglob("annotations.csv")))
    fields = []
    for name, rows in table.groupby("image"):
        image = read_image(next(root.rglob(name)))
        high, wide = image.shape[:2]
        boxes = rows[["xmin", "ymin", "xmax", "ymax"]].to_numpy() * [wide, high, wide, high]
        fields.append(TrueField(name, image, boxes, rows["label"].map(KIND_OF).to_numpy()))
    return fields


def at_edge(boxes: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Tell which boxes the edge of a field cuts off."""
    far = np.array([size[1], size[0]]) - EDGE
    return (boxes[:, :2] <= EDGE).any(axis=1) | (boxes[:, 2:] >= far).any(axis=1)


def matched(found: Finds, field: TrueField, kind: int, *, inner: bool) -> Matched:
    """Hold a field's finds of one kind against its boxes."""
    own, true = found.of(FIELD_KINDS[kind]), field.boxes[field.kinds == kind]
    one = match(own.boxes, own.scores, true)
    if not inner:
        return one
    kept = one.right | ~at_edge(own.boxes, field.image.shape)  # finds come surest first already
    return Matched(one.scores[kept], one.right[kept], one.n_true)


def by_middle(middles: np.ndarray, true: np.ndarray) -> tuple[int, int]:
    """Return how many boxes hold a middle, and how many middles lie in no box."""
    inside = (middles[:, None] >= true[None, :, :2]).all(2)
    inside &= (middles[:, None] <= true[None, :, 2:]).all(2)
    return int(inside.any(0).sum()), int((~inside.any(1)).sum())


def white_cells(rows: list[tuple[int, int, int]]) -> dict:
    """Score finds by their middles: rows of boxes, boxes found, finds in no box."""
    table = np.array(rows, float)
    fields = list(range(len(rows)))
    each = np.repeat(np.arange(len(rows)), table[:, 0].astype(int))
    hits = np.concatenate([[1.0] * int(hit) + [0.0] * int(n - hit) for n, hit, _ in rows])
    found = {"value": float(hits.mean()), **mean_interval(hits, each)}
    false = {"value": float(table[:, 2].mean()), **mean_interval(table[:, 2], fields)}
    return {"recall": found, "false_a_field": false}


def measure(fields: list[TrueField], detector: Detector) -> dict:
    """Score one set."""
    found, seconds, rows = [], [], {"detector": [], "finder": []}
    for field in fields:
        start = time.perf_counter()
        scale, stain = measure_scale(field.image)
        found.append(detector.candidates(field.image, scale, stain.ground))
        seconds.append(time.perf_counter() - start)
        true = field.boxes[field.kinds == 0]
        whites = detector.sure(found[-1]).of(WHITE).boxes
        cells = [cell for cell in find_cells(field.image).cells if cell.kind == "white"]
        middles = {
            "detector": (whites[:, :2] + whites[:, 2:]) / 2,
            "finder": np.array([(cell.x, cell.y) for cell in cells]).reshape(-1, 2),
        }
        for name, points in middles.items():
            rows[name].append((len(true), *by_middle(points, true)))
    kinds = {}
    for index, kind in enumerate(FIELD_KINDS):
        if any((field.kinds == index).any() for field in fields):
            threshold = float(detector.thresholds[index])
            kinds[kind] = {
                way: detection_scores(
                    [
                        matched(finds, field, index, inner=way == "inner")
                        for finds, field in zip(found, fields, strict=True)
                    ],
                    threshold,
                )
                for way in ("strict", "inner")
            } | {"n_cells": int(sum((field.kinds == index).sum() for field in fields))}
    return {
        "n_fields": len(fields),
        "kinds": kinds,
        "white_by_middle": {name: white_cells(own) for name, own in rows.items()},
        "median_ms": 1000 * float(np.median(seconds)),
    }


def sheet(fields: list[TrueField], detector: Detector, path: Path, *, seed: int = 0) -> int:
    """Draw red cells that were found where no box is, and return how many there are in all."""
    wrong = []
    for field in fields:
        finds = detector(field.image).of(RED)
        true = field.boxes[field.kinds == FIELD_KINDS.index(RED)]
        one = match(finds.boxes, finds.scores, true)
        wrong += [(field.image, box) for box in finds.boxes[~one.right]]
    chosen = np.random.default_rng(seed).permutation(len(wrong))[:CELLS]
    drawn = [_outlined(*wrong[index]) for index in chosen]
    drawn += [np.full_like(drawn[0], 255)] * (-len(drawn) % 10)
    rows = [np.hstack(drawn[i : i + 10]) for i in range(0, len(drawn), 10)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])
    return len(wrong)


def _outlined(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    pad = 60
    image = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), constant_values=255)
    x0, y0, x1, y1 = (box + pad).astype(int)
    image = cv2.rectangle(image.copy(), (x0, y0), (x1, y1), (0, 0, 0), 2)
    x, y, half = (x0 + x1) // 2, (y0 + y1) // 2, max(x1 - x0, y1 - y0) // 2 + 30
    part = image[max(0, y - half) : y + half, max(0, x - half) : x + half]
    return cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def measure_large(photograph: Path) -> dict:
    """Time a field of 12 megapixels in a process of its own, and its memory."""
    done = subprocess.run(
        [sys.executable, __file__, "--large", str(photograph)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    seconds, megabytes, cells = done.stdout.split()
    return {"size": list(LARGE), "seconds": float(seconds), "peak_mb": float(megabytes),
            "cells": int(cells)}  # fmt: skip


def run_large(photograph: Path) -> None:
    """Find the cells of a photograph, repeated until it fills 4000x3000 pixels."""
    image = read_image(photograph)
    times = [-(-long // short) for long, short in zip(LARGE, image.shape[:2], strict=True)]
    image = np.tile(image, (*times, 1))[: LARGE[0], : LARGE[1]]
    detector = Detector.load()
    start = time.perf_counter()
    found = detector(image)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(round(seconds, 2), round(peak), len(found.kinds))


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, help="archive or folder of the set")
    parser.add_argument("--draaslan", type=Path, help="archive or folder of the other fields")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--sheet", type=Path, help="draw finds without a box there")
    parser.add_argument("--large", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.large:
        run_large(options.large)
        return
    detector = Detector.load()
    root, about = open_archive(options.archive)
    home = photographed_fields(root)["test"]
    abroad, about_abroad = open_archive(options.draaslan)
    sets = {"held-out photographs": (home, about)}
    sets["draaslan"] = (draaslan_fields(abroad), about_abroad)
    result = {"command": "python scripts/measure_detector.py --archive … --draaslan …"}
    result |= {**environment(), "detector_sha256": fingerprint(DETECTOR)}
    thresholds = zip(FIELD_KINDS, map(float, detector.thresholds), strict=True)
    result |= {"thresholds": dict(thresholds), "sets": {}}
    for name, (fields, facts) in sets.items():
        result["sets"][name] = {**measure(fields, detector), "sha256": facts["sha256"]}
    photograph = next(root.rglob(f"BloodImage_{home[0].name}.jpg"))
    result["large"] = measure_large(photograph)
    if options.sheet:
        result["without_a_box"] = sheet(home, detector, options.sheet)
    text = dump_json(result)
    if options.json:
        write_text(options.json, text)
    print(text)


if __name__ == "__main__":
    main()
