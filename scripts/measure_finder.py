"""Measure the cell finder on the pictures of five laboratories, against boxes, masks and middles.

    python scripts/measure_finder.py FOLDER [--most 300] [--json results/finder.json]

FOLDER holds the unpacked sets, each in a folder of its archive's name: `blood-cells` (photographs
and copies), `draaslan` (fields), `pbc-part`, `raabin-part` and `wbc-masks-1` (crops); one that is
not there is left out. Photographs behind the official TEST are left out, too. A boxed cell is found
where the middle of a found one lies in its box; in crops without boxes the cell in the middle
counts. The scale is judged by the red cells' boxes, or by the width that red cells have in the set.
Intervals resample photographs, or smears where these are known.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.fields.finder import Cell, Corners, Finding, find_cells
from hv_utils.fields.scale import RED_CELL
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import PROJECT_ROOT, environment
from hv_utils.images.reading import read_image
from hv_utils.images.voc import RED_CELL as RED_BOX
from hv_utils.images.voc import WHITE_CELL, read_boxes
from hv_utils.scores.bootstrap import mean_interval

COPY_RED, PBC_RED, RAABIN_RED = 51.0, 78.0, 135.0  # widths of red cells, in pixels
MIDDLE = 0.2  # of a crop's width: how far from its middle the cell may lie
BOX_COLUMNS = ["xmin", "ymin", "xmax", "ymax"]


@dataclass(frozen=True)
class Picture:
    """A picture and what is known of it: boxes of white cells, or None; the red cells' width."""

    path: Path
    group: str
    boxes: list[Corners] | None = None
    red: float | None = None
    mask: Path | None = None


def source_map() -> pd.DataFrame:
    """Return the published map of copies to photographs."""
    return pd.read_csv(PROJECT_ROOT / "results" / "kaggle-sources.csv", dtype={"photo": str})


def typical_red(boxes: list[Corners], size: tuple[int, int]) -> float | None:
    """Return the median width of red cells that lie wholly in the frame; None for few."""
    height, width = size
    whole = [b for b in boxes if min(b[:2]) > 2 and b[2] < width - 2 and b[3] < height - 2]
    return float(np.median([(b[2] - b[0] + b[3] - b[1]) / 2 for b in whole])) if whole[3:] else None


def photographs(root: Path) -> Iterator[Picture]:
    """Yield the photographs of BCCD that no image of TEST comes from."""
    sources = source_map()
    held_out = set(sources.loc[~sources["path"].str.startswith("TRAIN"), "photo"])
    for path in sorted(root.rglob("BloodImage_*.xml")):
        number = path.stem.split("_")[1]
        if number not in held_out:
            named = read_boxes(path)
            corners = {
                name: [(b.xmin, b.ymin, b.xmax, b.ymax) for b in named if b.name == name]
                for name in (WHITE_CELL, RED_BOX)
            }
            photo = path.parent.parent / "JPEGImages" / f"{path.stem}.jpg"
            red = typical_red(corners[RED_BOX], (480, 640))
            yield Picture(photo, number, corners[WHITE_CELL], red)


def copies(root: Path) -> Iterator[Picture]:
    """Yield one copy of each group of photographs behind TRAIN, its box well inside the frame."""
    sources = source_map()
    (train,) = (path for path in root.rglob("images/TRAIN") if path.is_dir())
    seen = sources[sources["path"].str.startswith("TRAIN") & (sources["visible"] > 0.9)]
    columns = [f"box_{name}" for name in BOX_COLUMNS]
    for row in seen.sort_values("sha256").drop_duplicates("group").to_dict("records"):
        box = tuple(float(row[name]) for name in columns)
        yield Picture(train.parent / row["path"], str(row["group"]), [box], COPY_RED)


def fields(root: Path) -> Iterator[Picture]:
    """Yield the fields of draaslan; the corners are shares of the sides, 256 pixels."""
    table = pd.read_csv(next(root.rglob("annotations.csv")))
    table[BOX_COLUMNS] *= 256
    for name, rows in table.groupby("image"):
        corners = {
            label: list(part[BOX_COLUMNS].itertuples(index=False, name=None))
            for label, part in rows.groupby("label")
        }
        red = typical_red(corners.get("rbc", []), (256, 256))
        yield Picture(root / "images" / str(name), str(name), corners.get("wbc", []), red)


def crops(red: float) -> Callable[[Path], Iterator[Picture]]:
    """Return a reader of crops around one cell each; the name up to the first `_` is the smear."""

    def read(root: Path) -> Iterator[Picture]:
        for path in sorted(root.rglob("*.jpg")):
            smear = path.stem.split("_")[0] if red == RAABIN_RED else path.stem
            yield Picture(path, smear, red=red)

    return read


def outlined(root: Path) -> Iterator[Picture]:
    """Yield the crops of Zheng et al. with the experts' outlines."""
    for path in sorted(root.rglob("*.bmp")):
        yield Picture(path, path.stem, mask=path.with_suffix(".png"))


SETS = {
    "BCCD photographs, not behind TEST": ("blood-cells", photographs),
    "copies of TRAIN": ("blood-cells", copies),
    "draaslan": ("draaslan", fields),
    "PBC": ("pbc-part/PBC_dataset_normal_DIB", crops(PBC_RED)),
    "Raabin": ("raabin-part/Test-A", crops(RAABIN_RED)),
    "Zheng 1": ("wbc-masks-1", outlined),
}


def box_overlap(a: Corners, b: Corners) -> float:
    """Return intersection over union of two boxes."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0.0) * max(high, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def in_box(cell: Cell, box: Corners) -> bool:
    """Tell whether the middle of a cell lies in a box."""
    return box[0] <= cell.x <= box[2] and box[1] <= cell.y <= box[3]


def matched(found: Finding, boxes: list[Corners] | None) -> list[tuple[Cell | None, float]]:
    """Return for each known cell the found one, used once, and the overlap of their boxes."""
    if boxes is None:
        height, width = found.size
        middle = (width / 2, height / 2)
        near = [
            c for c in found.cells if np.hypot(c.x - middle[0], c.y - middle[1]) < MIDDLE * width
        ]
        return [(near[0] if near else None, np.nan)]
    free = [cell for cell in found.cells if cell.kind == "white"]
    pairs: list[tuple[Cell | None, float]] = []
    for box in boxes:
        inside = [cell for cell in free if in_box(cell, box)]
        best = max(inside, key=lambda cell, box=box: box_overlap(cell.box, box), default=None)
        if best is not None:
            free = [cell for cell in free if cell is not best]
        pairs.append((best, box_overlap(best.box, box) if best else np.nan))
    return pairs


def rows_of(picture: Picture) -> list[dict[str, Any]]:
    """Look for cells in one picture: a row for each known cell, the first with the picture's."""
    image = read_image(picture.path)
    start = time.process_time()
    found = find_cells(image)
    elapsed = time.process_time() - start
    pairs = matched(found, picture.boxes)
    whole = {
        "extra": len(found.cells) - sum(cell is not None for cell, _ in pairs),
        "scale_error": abs(found.um_per_pixel * (picture.red or np.nan) / RED_CELL - 1),
        "ms": 1000 * elapsed,
        "by_red_cells": found.ruler == "red cells",
    }
    rows = [{"found": float(cell is not None), "box_iou": iou} for cell, iou in pairs] or [{}]
    if picture.mask is not None:
        truth = read_image(picture.mask)[..., 0] > 200
        cell = pairs[0][0]
        drawn = cell.nucleus_mask(found.size) if cell else np.zeros_like(truth)
        rows[0]["nucleus_iou"] = float((drawn & truth).sum() / (drawn | truth).sum())
    rows[0].update(whole)
    return [{"group": picture.group, "kind": picture.path.parent.name, **row} for row in rows]


def figures(table: pd.DataFrame) -> dict[str, Any]:
    """Return a set's figures; shares and means with intervals by group."""

    def mean(values: pd.Series) -> dict[str, Any]:
        known = values.astype(float)
        return {"value": float(known.mean()), **mean_interval(known, table["group"])}

    table = table.reindex(columns=[*table.columns, *({"nucleus_iou"} - {*table.columns})])
    result = {
        "n_images": int(table["ms"].count()),
        "n_cells": int(table["found"].count()),
        "n_groups": int(table["group"].nunique()),
        "found": mean(table["found"]),
        "extra_per_image": mean(table["extra"]),
        "ruler_red_cells": float(table["by_red_cells"].astype(float).mean()),
        "median_ms": float(table["ms"].median()),
    }
    for name in ("box_iou", "nucleus_iou"):
        if table[name].notna().any():
            result[name] = mean(table[name])
    errors = table["scale_error"].dropna()
    if len(errors):
        within = table["scale_error"].lt(0.25).where(table["scale_error"].notna())
        result["scale"] = {
            "median_error": float(errors.median()),
            "p90_error": float(errors.quantile(0.9)),
            "within_25_percent": mean(within),
        }
    return result


def main() -> None:
    """Measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the unpacked sets")
    parser.add_argument("--most", type=int, default=300, help="pictures of a set, or of a kind")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sets: dict[str, Any] = {}
    for name, (folder, pictures) in SETS.items():
        if not (options.folder / folder).exists():
            print(f"{name}: no {folder} in {options.folder}, left out")
            continue
        everything = pd.DataFrame({"picture": list(pictures(options.folder / folder))})
        kind = everything["picture"].map(lambda picture: picture.path.parent.name)
        chosen = everything.groupby(kind).sample(frac=1, random_state=0).groupby(kind)
        some = sorted(chosen.head(options.most)["picture"], key=lambda picture: picture.path)
        digest = hashlib.sha256(b"".join(picture.path.read_bytes() for picture in some))
        table = pd.DataFrame([row for picture in some for row in rows_of(picture)])
        sets[name] = {**figures(table), "sha256": digest.hexdigest()}
        if name in ("PBC", "Raabin"):
            by_kind = table.groupby("kind")["found"]
            sets[name]["found_by_kind"] = by_kind.mean().rename(str.lower).to_dict()
        print(name, dump_json(sets[name]), flush=True)
    if options.json:
        command = f"python scripts/measure_finder.py FOLDER --most {options.most}"
        record = {"command": command, **environment(), "sets": sets}
        write_text(options.json, dump_json(record))


if __name__ == "__main__":
    main()
