"""Which pictures of which laboratory are learnt from, validated on and kept aside."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from hv_utils.data import pbc
from hv_utils.data.kaggle import find_folder
from hv_utils.data.protocol import Place
from hv_utils.data.source_map import read_source_map
from hv_utils.ground.runs import REFERENCE_RESULTS
from hv_utils.inference.onnx_model import SHIPPED_MODEL, facts_path

TRAIN_COPIES, VAL_COPIES = 640, 128  # of a class of the Kaggle set: more teach little, few cells
VISIBLE = 0.5  # of a cell's box, at least
BOX = ["box_xmin", "box_ymin", "box_xmax", "box_ymax"]


def pbc_cells(root: Path) -> pd.DataFrame:
    """List the pictures of PBC (Acevedo et al., 2020), each once.

    The set has no donor numbers, so a digest of the file's name draws the parts, and cells of one
    donor may lie on both sides. What is left out: see `data.pbc`.

    Parameters
    ----------
    root : Path
        A folder in which `PBC_dataset_normal_DIB/<class>/` lies, at any depth.

    Returns
    -------
    pandas.DataFrame
        `path`, `label`, `part` (train, val, test: 70, 10 and 20 %), `group` (the picture),
        `laboratory`.

    Raises
    ------
    HematoVisionError
        Where the folder is missing or lacks a class.
    """
    folder = pbc.folder_in(root)
    files = pbc.read(Place(root, folder, {})).files
    paths = [Path(path) for path in files["path"]]
    return pd.DataFrame(
        {
            "path": paths,
            "label": files["label"],
            "part": [_part_of(path.name) for path in paths],
            "group": [path.stem for path in paths],
            "laboratory": "pbc",
        }
    )


def _part_of(name: str) -> str:
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
    return "train" if share < 0.7 else "val" if share < 0.8 else "test"


def kaggle_cells(root: Path) -> pd.DataFrame:
    """List copies of TRAIN: of each class the photographs in turn, so that few cells do not crowd.

    Learnt from are the cells that the start weights `hematovision` have learnt from, validated on
    those that they were validated on. What shares a field with TEST is in neither, and copies in
    which less than half of the cell is visible are left out.

    Parameters
    ----------
    root : Path
        An unpacked archive of the set.

    Returns
    -------
    pandas.DataFrame
        As `pbc_cells`; `group` is the field's. And the cell's box, `box_xmin` … `box_ymax`, in
        pixels; missing where the photograph has none.
    """
    table = read_source_map()
    table = table[table["path"].str.startswith("TRAIN/")]
    facts = json.loads(facts_path(SHIPPED_MODEL).read_text(encoding="utf-8"))
    learnt = {name.split("/")[1] for name in facts["learnt"] if name.startswith("kaggle/")}
    judged = pd.read_csv(REFERENCE_RESULTS / "native" / "predictions-val.csv")["path"]
    held = set(table.loc[table["path"].isin(judged), "group"])
    shown = table["visible"].fillna(0) >= VISIBLE
    table = table[shown & table["group"].isin(learnt | held)].sort_values("sha256")
    table = table.assign(
        label=table["path"].str.split("/").str[1].str.lower(),
        part=np.where(table["group"].isin(held), "val", "train"),
    )
    turn = table.groupby(["label", "part", "group"]).cumcount()
    table = table.assign(turn=turn).sort_values(["turn", "sha256"])
    place = table.groupby(["label", "part"]).cumcount()
    most = np.where(table["part"] == "val", VAL_COPIES, TRAIN_COPIES)
    table = table[place < most]
    images = find_folder(root, "TRAIN").parent
    table = table.assign(path=[images / path for path in table["path"]], laboratory="kaggle")
    names = ["path", "label", "part", "group", "laboratory", *BOX]
    return table[names].reset_index(drop=True)


LABORATORIES = {"kaggle": kaggle_cells, "pbc": pbc_cells}
