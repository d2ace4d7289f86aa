"""Cells that a model has not learnt from, one picture of each, with the model's verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import fingerprint
from hv_utils.ground.runs import Run, is_drawn

WANTED = 100
WHOLE = 0.9  # of a cell's box: a copy that shows less is taken only where the cell has no other
LEARNT = ("train", "val")


@dataclass(frozen=True)
class HeldOut:
    """Cells to judge, each once.

    Attributes
    ----------
    cells : pandas.DataFrame
        A row a cell: `path` of one picture, `label`, `predicted`, `cell`.
    about : str
        Two sentences: what the cells are, and what the model has learnt from.
    """

    cells: pd.DataFrame
    about: str

    def choose(
        self,
        count: int | None = None,
        *,
        shares: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Draw cells, in random order.

        Parameters
        ----------
        count : int, optional
            By default `WANTED`, or all where there are fewer.
        shares : mapping of str to float, optional
            Of each class, summing to 1; by default the classes are as even as the cells allow.
        seed : int

        Returns
        -------
        pandas.DataFrame
            Rows of `cells`, with a new index.

        Raises
        ------
        HematoVisionError
            Where there are too few cells, or the shares do not fit.
        """
        there = self.cells["label"].value_counts().sort_index()
        if count is not None and count > len(self.cells):
            raise HematoVisionError(
                f"expected at most {len(self.cells)} cells, as many as the test part has, but "
                f"--cells is {count}: ask for fewer, or leave it out to take what there is"
            )
        count = count or min(WANTED, len(self.cells))
        wanted = _by_share(there, count, shares) if shares else _evenly(there, count)
        drawn = self.cells.sample(frac=1, random_state=seed)
        place = drawn.groupby("label").cumcount()
        return drawn[place < drawn["label"].map(wanted)].reset_index(drop=True)


def _evenly(there: pd.Series, count: int) -> dict[str, int]:
    """Give each class as many as the others, until one has no more cells."""
    wanted = dict.fromkeys(there.index, 0)
    for _ in range(count):
        wanted[min((k for k in wanted if wanted[k] < there[k]), key=wanted.__getitem__)] += 1
    return wanted


def _by_share(there: pd.Series, count: int, shares: Mapping[str, float]) -> dict[str, int]:
    if set(shares) != set(there.index) or min(shares.values()) < 0:
        raise HematoVisionError(
            f"expected a share of each of {', '.join(there.index)}, 0 or more, but got those of "
            f"{', '.join(shares)}: give --share CLASS SHARE once for each"
        )
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise HematoVisionError(
            f"expected shares that sum to 1, but these sum to {sum(shares.values()):g}: "
            "change one of them"
        )
    exact = pd.Series(shares) * count
    wanted = np.floor(exact + 1e-9).astype(int)
    left = (exact - wanted).sort_values(ascending=False, kind="stable").index
    wanted[left[: count - wanted.sum()]] += 1
    for name in there.index[wanted[there.index] > there]:
        raise HematoVisionError(
            f"expected {wanted[name]} cells of {name} for these shares of {count}, but the test "
            f"part has {there[name]}: ask for fewer --cells, or a smaller share of {name}"
        )
    return wanted.to_dict()


def from_run(run: Run, *, seed: int = 0) -> HeldOut:
    """Take the test cells of a run, and the verdicts of its model.

    A cell that was drawn as another class than its label says is a trap of the demo, and is left
    out. Of several photos of one field one is taken.

    Parameters
    ----------
    run : Run
        With `images.csv` and `predictions.csv`.
    seed : int
        Draws the copy of each cell.

    Returns
    -------
    HeldOut

    Raises
    ------
    HematoVisionError
        Where the run lacks a table or its pictures, or its model has learnt from a test cell.
    """
    images = run.read_table("images.csv", made_by="01_data")
    table = run.read_table("predictions.csv", made_by="03_model")
    # Where no cell is known a group may be a patient, who has many cells.
    names = ["group", "visible"] if table["cell"].notna().any() else ["visible"]
    more = images[["path", *(name for name in names if name in images)]].drop_duplicates("path")
    table = table.drop(columns="group", errors="ignore").merge(more, on="path", how="left")
    table["cell"] = table["cell"].fillna(table["path"].astype("string"))
    learnt = images[images["split"].isin(LEARNT)]
    if both := set(table["cell"]) & set(learnt["cell"].dropna()):
        raise HematoVisionError(
            f"expected test cells that the model has not learnt from, but {min(both)} of "
            f"{run.folder} is on both sides: run the first notebook again"
        )
    if "drawn_as" in images:
        truth = images.dropna(subset=["cell"]).drop_duplicates("cell").set_index("cell")["drawn_as"]
        drawn_as = table["cell"].map(truth)
        table = table[drawn_as.isna() | (drawn_as == table["label"])]
    cells = _one_picture(table, seed)
    _need_pictures(cells, run)
    return HeldOut(cells, _about(run, learnt, drawn=is_drawn(images)))


def _about(run: Run, learnt: pd.DataFrame, *, drawn: bool) -> str:
    what = "The cells are drawn, none was photographed" if drawn else "The cells are photographed"
    unit = "cells" if learnt["cell"].notna().any() else "pictures"
    names = learnt["cell"].fillna(learnt["path"].astype("string"))
    n_train, n_val = (names[learnt["split"] == part].nunique() for part in LEARNT)
    tuned = f" and was tuned on {n_val:,} more" if n_val else ""
    return (
        f"{what}: they are the test part of the run “{run.name}”. The model of that run has learnt "
        f"from {n_train:,} other {unit}{tuned}; none of them is here."
    )


def from_archive(archive: str | Path, *, seed: int = 0) -> HeldOut:
    """Take the TEST part of the real set, and the verdicts of the shipped model of that set.

    Parameters
    ----------
    archive : str or Path
        See `data.archive.open_archive`.
    seed : int
        Draws the copy of each cell.

    Returns
    -------
    HeldOut

    Raises
    ------
    HematoVisionError
        Where the archive is not the real set, or the source map does not know its images.
    """
    from hv_utils.data import kaggle
    from hv_utils.data.archive import open_archive
    from hv_utils.data.layout import read_folders
    from hv_utils.data.source_map import attach_sources
    from hv_utils.inference.onnx_model import SHIPPED_MODEL
    from hv_utils.inference.predict import open_classifier, predict_rows

    place = kaggle.place_of(*open_archive(archive))
    files, _ = read_folders(place.images)
    files = files[files["split"] == "test"]
    files = files.assign(sha256=[fingerprint(Path(path)) for path in files["path"]])
    table = attach_sources(files).dropna(subset=["cell"])
    if table.empty:
        raise HematoVisionError(
            f"expected the test images of {kaggle.DATASET}, but the source map knows none of "
            f"{archive}: for other pictures use `hv run`, and its --run here"
        )
    cells = _one_picture(table, seed)
    classify, meta = open_classifier(SHIPPED_MODEL)
    facts = {"classes": meta["classes"], "size": tuple(meta["size"])}
    rows = predict_rows(map(Path, cells["path"]), classify, **facts)
    # Also where it would decline to answer: here both must.
    verdicts = [max(facts["classes"], key=lambda name: row[f"prob_{name}"]) for row in rows]
    about = (
        "The cells are photographed: they are the test part of Blood Cell Images (Kaggle, "
        "paultimothymooney/blood-cells). The model is the one that comes with the project, which "
        "has learnt from the training part, and from none of these."
    )
    return HeldOut(cells.assign(predicted=verdicts), about)


def _one_picture(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return one row of each cell, and one cell of each field, drawn at random."""
    table = table.sample(frac=1, random_state=seed)
    if "visible" in table:
        cut = table["visible"].fillna(1) < WHOLE
        table = table.assign(cut=cut).sort_values("cut", kind="stable")
    table = table.drop_duplicates("cell")
    if "group" in table:
        table = table[table["group"].isna() | ~table["group"].duplicated()]
    columns = [name for name in ("path", "label", "predicted", "cell") if name in table]
    return table[columns].sort_values("cell", ignore_index=True)


def _need_pictures(cells: pd.DataFrame, run: Run) -> None:
    gone = [path for path in cells["path"] if not Path(path).is_file()]
    if gone or cells.empty:
        which = f"{gone[0]} is not there" if gone else "no cell is left"
        raise HematoVisionError(
            f"expected the pictures of the test cells of {run.folder}, but {which}: "
            "run it here again with `hv run`"
        )
