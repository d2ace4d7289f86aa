"""Measure what a count is worth: composed fields whose truth is known, then many smears of them.

    python scripts/measure_counts.py --pbc PBC_dataset.zip --json results/counts.json

Held-out pictures of PBC, each with one cell of known kind, are laid side by side into fields of 25
cells, and counted as `hv count` counts. Then smears of a hundred cells are drawn from the cells
that were laid, at shares like those of adults, and each is counted from what became of its cells:
how far the shares are off, and how often the 95 % limits hold the share that the smear was drawn
at. `perfect` counts without a mistake, so that it shows what chance alone does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from hv_utils.data.archive import open_archive
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.predictions import prob_columns
from hv_utils.ground.progress import print_progress
from hv_utils.ground.runs import environment
from hv_utils.images.reading import read_image
from hv_utils.inference.count_report import DOUBTFUL, FINDINGS, NO_WHITE_CELLS, Count
from hv_utils.inference.counting import CountedField, count_field, field_options
from hv_utils.inference.detector import Detector
from hv_utils.inference.onnx_model import UNSURE
from hv_utils.inference.predict import open_classifier
from hv_utils.network.laboratories import LABORATORIES
from hv_utils.scores.differential import exact_limits, rebalanced

USUAL = {"neutrophil": 60, "lymphocyte": 30, "monocyte": 6, "eosinophil": 3, "basophil": 1}
ACROSS, CELLS = 5, 100
TILE = 360  # pixels of a picture
LOST = "lost"  # a cell that nothing was found of


def compose(pictures: pd.DataFrame, folder: Path) -> list[tuple[Path, pd.DataFrame]]:
    """Lay pictures side by side, `ACROSS` a row and as many rows; return the fields' files."""
    fields = []
    for number in range(len(pictures) // ACROSS**2):
        part = pictures.iloc[number * ACROSS**2 : (number + 1) * ACROSS**2]
        tiles = [cv2.resize(read_image(path), (TILE, TILE)) for path in part["path"]]
        rows = [np.hstack(tiles[i : i + ACROSS]) for i in range(0, len(tiles), ACROSS)]
        path = folder / f"field-{number}.png"
        Image.fromarray(np.vstack(rows)).save(path)
        fields.append((path, part))
    return fields


def outcomes(field: CountedField, part: pd.DataFrame) -> list[dict]:
    """Return what became of each cell that was laid: the white cell found nearest its middle."""
    whites = [row for row in field.rows if row["kind"] == "white"]
    middles = np.array([[(r["xmin"] + r["xmax"]) / 2, (r["ymin"] + r["ymax"]) / 2] for r in whites])
    found = []
    for place, label in enumerate(part["label"]):
        middle = (np.array([place % ACROSS, place // ACROSS]) + 0.5) * TILE
        away = np.abs(middles.reshape(-1, 2) - middle).max(axis=1)
        own = int(away.argmin()) if len(away) and away.min() < TILE / 4 else -1
        row = whites[own] if own >= 0 else {"status": LOST, "predicted": ""}
        found.append({**row, "label": label})
    return found


def smears(cells: pd.DataFrame, meta: dict, *, count: int, seed: int) -> dict:
    """Draw smears from cells with known outcomes, and hold the counts against the truth."""
    rng = np.random.default_rng(seed)
    kinds = list(USUAL)
    by_kind = {kind: cells.index[cells["label"] == kind].to_numpy() for kind in kinds}
    learnt = np.array([meta["learnt_shares"][name] for name in meta["classes"]])
    rows = []
    for _ in range(count):
        shares = rng.dirichlet(np.array(list(USUAL.values())) / 4)
        times = rng.multinomial(CELLS, shares)
        drawn = [rng.choice(by_kind[kind], n) for kind, n in zip(kinds, times, strict=True)]
        smear = cells.loc[np.concatenate(drawn)]
        for kind, n, share in zip(kinds, times, shares, strict=True):
            low, high = exact_limits(n, CELLS)
            rows.append(("perfect", kind, share, n / CELLS, low, high))
        for way in DOUBTFUL:
            tally = Count(meta, doubtful=way)
            tally.add(CountedField("smear", smear[smear["status"] != LOST].to_dict("records"), []))
            for kind, found in tally.facts()["differential"].items():
                if kind in USUAL and found["share"] is not None:
                    share = shares[kinds.index(kind)]
                    rows.append((way, kind, share, found["share"], found["low"], found["high"]))
        judged = smear[~smear["status"].isin([LOST, "not_a_cell"])]
        corrected = rebalanced(judged[prob_columns(meta["classes"])].to_numpy(float), learnt)
        for kind, share in zip(kinds, shares, strict=True):
            at = meta["classes"].index(kind)
            limits = (corrected[end][at] for end in ("share", "low", "high"))
            rows.append(("rebalanced", kind, share, *limits))
    return _summary(pd.DataFrame(rows, columns=["way", "kind", "true", "share", "low", "high"]))


def worked(cells: pd.DataFrame, meta: dict, total: int, *, seed: int) -> dict:
    """Count one smear, and again when a person has seen its unsure cells and its findings."""
    rng = np.random.default_rng((seed, total))
    shares = np.array(list(USUAL.values())) / sum(USUAL.values())
    labels = rng.choice(list(USUAL), total, p=shares)
    drawn = [rng.choice(cells.index[cells["label"] == label]) for label in labels]
    smear = cells.loc[drawn]
    rows = smear[smear["status"] != LOST].to_dict("records")
    shown = [row["status"] == UNSURE or row["predicted"] in FINDINGS for row in rows]
    looked_at = [
        {**row, "status": "ok", "predicted": row["label"]} if doubtful else row
        for row, doubtful in zip(rows, shown, strict=True)
    ]
    counted = {}
    for name, these in (("counted", rows), ("reviewed", looked_at)):
        tally = Count(meta)
        tally.add(CountedField("smear", these, []))
        counted[name] = tally.facts()["differential"]
    truth = {kind: int((smear["label"] == kind).sum()) for kind in USUAL}
    return {"truth": truth, **counted, "looked_at": sum(shown)}


def _summary(table: pd.DataFrame) -> dict:
    table = table.assign(
        bias=table["share"] - table["true"],
        error=(table["share"] - table["true"]).abs(),
        held=(table["low"] <= table["true"]) & (table["true"] <= table["high"]),
        width=table["high"] - table["low"],
    )
    measures = ["bias", "error", "held", "width"]
    both = {"all": table.groupby("way")[measures].mean()}
    both |= {kind: part.groupby("way")[measures].mean() for kind, part in table.groupby("kind")}
    return {
        kind: {way: row.to_dict() for way, row in found.iterrows()} for kind, found in both.items()
    }


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pbc", type=Path, required=True, help="archive or folder of PBC")
    parser.add_argument("--folder", type=Path, default=Path("runs/composed"))
    parser.add_argument("--smears", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    root, facts = open_archive(options.pbc)
    pictures = LABORATORIES["pbc"](root)
    held = pictures[(pictures["part"] == "test") & ~pictures["label"].isin(NO_WHITE_CELLS)]
    held = held.sample(frac=1, random_state=options.seed)
    classify, meta = open_classifier()
    progress, rows, extra = print_progress("composed fields"), [], 0
    fields = compose(held, options.folder)
    for number, (path, part) in enumerate(fields, 1):
        field = count_field(
            path, detector=Detector.load(), classify=classify, meta=meta, **field_options(meta)
        )
        found = outcomes(field, part)
        extra += sum(row["kind"] == "white" for row in field.rows) - sum(
            row["status"] != LOST for row in found
        )
        rows += found
        progress(number, len(fields))
    cells = pd.DataFrame(rows)
    named = cells[cells["status"] == "ok"]
    result = {
        "command": "python scripts/measure_counts.py --pbc …",
        **environment(),
        "sha256": facts["sha256"],
        "seed": options.seed,
        "fields": len(fields),
        "cells": len(cells),
        "found": float((cells["status"] != LOST).mean()),
        "extra_a_field": extra / len(fields),
        "unsure": float((cells["status"] == UNSURE).mean()),
        "right_of_the_sure": float((named["predicted"] == named["label"]).mean()),
        "smears": options.smears,
        "cells_a_smear": CELLS,
        "usual_shares": USUAL,
        "worked": {
            str(total): worked(cells, meta, total, seed=options.seed) for total in (100, 200)
        },
        "by_kind": smears(cells, meta, count=options.smears, seed=options.seed),
    }
    text = dump_json(result)
    if options.json:
        write_text(options.json, text)
    print(text)


if __name__ == "__main__":
    main()
