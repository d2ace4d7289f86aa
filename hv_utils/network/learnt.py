"""The cells that start weights have learnt from, which must not be tested with them again."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from hv_utils.data.source_map import attach_sources
from hv_utils.data.splits import HELD_OUT, UNPLACED, LeakError
from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.onnx_model import SHIPPED_MODEL, facts_path
from hv_utils.network.model import sidecar

FACT = "learnt"  # in the JSON file beside a model


def cells_learnt(images: pd.DataFrame, weights: str = "none") -> list[str]:
    """Return which cells a model has learnt from after training on a table.

    Parameters
    ----------
    images : DataFrame
        Image table; its rows of `train` are learnt from, and those of `val` chosen on.
    weights : str
        The start weights, which may have learnt from others before.

    Returns
    -------
    list of str
        Sorted, as `<source>/<group>`, of all cells whose photo is known.
    """
    taken = images[images["split"] == "train"]
    return sorted({*_names(taken).dropna(), *learnt_before(weights)})


def start_files(weights: str) -> list[Path]:
    """Return the files behind start weights, the one that tells of them last.

    Parameters
    ----------
    weights : str
        As in `weights.backbone`. For ImageNet weights and names the list is empty; for
        `hematovision` one file tells, as it holds the checksums of the others.
    """
    if weights == "hematovision":
        return [facts_path(SHIPPED_MODEL)]
    return [Path(weights), sidecar(weights)] if Path(weights).is_file() else []


def learnt_before(weights: str) -> list[str]:
    """Return the cells behind start weights: none behind those of ImageNet.

    Parameters
    ----------
    weights : str
        As in `weights.backbone`.

    Raises
    ------
    HematoVisionError
        Where a model does not tell.
    """
    files = start_files(weights)
    if not files:  # a name, or a mistake that loading the weights will tell of
        return []
    path = files[-1]
    try:
        return json.loads(path.read_text(encoding="utf-8"))[FACT]
    except (OSError, ValueError, KeyError) as error:
        raise HematoVisionError(
            f"expected {path} to list the cells that {weights} has learnt from, but it does not: "
            "the model is of an earlier version; train it again"
        ) from error


def check_not_learnt(images: pd.DataFrame, weights: str, *, cross_validated: bool = False) -> None:
    """Refuse start weights that have learnt from cells on which they would be judged.

    Parameters
    ----------
    images : DataFrame
        Image table.
    weights : str
        As in `weights.backbone`.
    cross_validated : bool
        Whether every row is judged in its turn, not those of `val` and `test` alone.

    Raises
    ------
    LeakError
        Naming one such cell and how many more there are.
    """
    learnt = set(learnt_before(weights))
    if not learnt:
        return
    side = images["split"].replace(HELD_OUT)
    judged = side != UNPLACED if cross_validated else side.isin(["val", "test"])
    seen = sorted(set(_names(images[judged]).dropna()) & learnt)
    if seen:
        others = f" (and {len(seen) - 1} more)" if len(seen) > 1 else ""
        raise LeakError(
            f"expected start weights that have not seen the cells they are judged on, but "
            f"{weights} has learnt from cell {seen[0]}{others}: the score would be of memory; "
            "take weights=lite0, or hold out the cells that it held out"
        )


def _names(images: pd.DataFrame) -> pd.Series:
    """Name each image's cell; one of unknown source is looked up in the real set by its content."""
    groups = images["group"] if "group" in images else images["cell"]
    names = images["source"].astype("string") + "/" + groups.astype("string")
    if names.isna().any() and "sha256" in images:
        names = names.fillna("kaggle/" + attach_sources(images[["sha256"]])["group"])
    return names
