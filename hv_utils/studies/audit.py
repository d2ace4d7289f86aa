"""The label audit: what in a data set deserves a second look, and why.

An audit asks questions; it answers none. Rows that the table itself leaves open, images that occur
twice, photos of the same field, cells cut off by the frame, and cells that a probe contradicts
whenever it has not seen them {cite:p}`northcutt2021` are listed for a person to look at. No label
is changed here or anywhere else in the project.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hv_utils.ground.predictions import likeliest

FINDING_COLUMNS = [
    *("reason", "cell", "label", "suggested", "prob_label", "prob_suggested"),
    *("n_repeats_wrong", "confident", "detail", "path"),
]


def doubtful_rows(photos: pd.DataFrame) -> pd.DataFrame:
    """Find the rows of the labels' table that name no cell, several, or one of another class.

    Parameters
    ----------
    photos : DataFrame
        photos.csv: `photo`, `path`, `category`, `label`, `doubt`, `white_cells`.

    Returns
    -------
    DataFrame
        The rows with a `doubt`, those of the same doubt together.
    """
    doubt = photos["doubt"].fillna("")
    return photos[doubt != ""].sort_values(["doubt", "photo"]).reset_index(drop=True)


def box_conflicts(photos: pd.DataFrame) -> pd.DataFrame:
    """Find photos of one label whose annotation does not box exactly one white cell.

    Parameters
    ----------
    photos : DataFrame
        photos.csv.

    Returns
    -------
    DataFrame
        Rows without a doubt of their own. Empty where no photo has a box, as annotations are then
        missing altogether.
    """
    if not (photos["white_cells"] > 0).any():
        return photos.head(0)
    usable = photos["doubt"].fillna("") == ""
    return photos[usable & (photos["white_cells"] != 1)].reset_index(drop=True)


def partly_outside(images: pd.DataFrame, *, least: float = 0.9) -> pd.DataFrame:
    """Find images in which the frame cuts the white cell off.

    Parameters
    ----------
    images : DataFrame
        Image table, with `visible` (share of the cell's box inside the frame, 0…1) where known.
    least : float
        Share below which a cell counts as cut off.

    Returns
    -------
    DataFrame
        Rows of `images`, the least visible first; none where `visible` is not known.
    """
    if "visible" not in images:
        return images.head(0)
    return images[images["visible"] < least].sort_values("visible", kind="stable")


def right_by_visibility(
    oof: pd.DataFrame, images: pd.DataFrame, *, least: float = 0.9
) -> pd.DataFrame:
    """Compare the verdicts on images that show their cell whole and in part.

    Parameters
    ----------
    oof : DataFrame
        oof-predictions.csv: `path`, `label`, `prob_<class>`, several rows an image.
    images : DataFrame
        Image table, with `visible` where known.
    least : float
        Share below which a cell counts as cut off, an edge of the table's rows.

    Returns
    -------
    DataFrame
        One row a range of `visible`: `images` and `right`, the share judged right; no rows where
        verdicts or `visible` are missing.
    """
    if oof.empty or "visible" not in images or images["visible"].isna().all():
        return pd.DataFrame(columns=["images", "right"])
    right = pd.Series(likeliest(oof) == oof["label"].to_numpy(object)).groupby(oof["path"]).mean()
    visible = images.drop_duplicates("path").set_index("path")["visible"].reindex(right.index)
    edges = {"less than half": 0.5} if least > 0.5 else {}
    edges[f"up to {least:g}"] = least
    above = {"more": 0.999, "all of it": 1.0}
    edges |= {name: edge for name, edge in above.items() if edge > least}
    ranges = pd.cut(visible, [-1, *edges.values()], labels=list(edges))
    return right.groupby(ranges, observed=True).agg(images="size", right="mean")


def label_conflicts(images: pd.DataFrame, photos: pd.DataFrame) -> pd.DataFrame:
    """Find cells whose copies lie in a class folder that the labels' table does not name.

    Parameters
    ----------
    images : DataFrame
        Image table with `cell` and `label`, the name of the folder.
    photos : DataFrame
        photos.csv.

    Returns
    -------
    DataFrame
        `cell`, `label` (folder), `category` (as written in the table), `n_images`, `path` (of the
        first image).
    """
    rows = images[images["cell"].notna()]
    found = rows.groupby(["cell", "label"])["path"].agg(["size", "first"]).reset_index()
    found.columns = ["cell", "label", "n_images", "path"]
    table = photos.drop_duplicates("photo").set_index("photo")
    found = found[found["cell"].isin(table.index)]
    named = found["cell"].map(table["label"])
    found = found.assign(category=found["cell"].map(table["category"]))
    other = named.fillna("").to_numpy(object) != found["label"].to_numpy(object)
    return found[other].reset_index(drop=True)


def findings(
    *,
    photos: pd.DataFrame,
    images: pd.DataFrame,
    judged: pd.DataFrame,
    same_files: pd.DataFrame,
    same_field: pd.DataFrame,
    cut_off: pd.DataFrame,
) -> pd.DataFrame:
    """Lay every finding out as one row: what, where, and what a person should ask.

    Parameters
    ----------
    photos, images : DataFrame
        photos.csv and the image table.
    judged : DataFrame
        From `disagreements.judge_cells`; may be empty.
    same_files, same_field, cut_off : DataFrame
        From `duplicates.exact_duplicates`, `duplicates.near_duplicates` and `partly_outside`.

    Returns
    -------
    DataFrame
        audit.csv, `FINDING_COLUMNS`. A cell has a row for each reason. `detail` is one sentence,
        `path` an image to look at.
    """
    parts = [
        _rows_of_photos(doubtful_rows(photos), "doubtful row"),
        _rows_of_photos(box_conflicts(photos), "boxes and label"),
        _conflict_rows(label_conflicts(images, photos)),
        _disagreement_rows(judged, show_cells(photos, images)),
        _set_rows(same_files, "identical files"),
        _set_rows(same_field, "same field"),
        _cut_off_rows(cut_off, images),
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=FINDING_COLUMNS)
    return pd.concat(parts, ignore_index=True).reindex(columns=FINDING_COLUMNS)


def _rows_of_photos(rows: pd.DataFrame, reason: str) -> pd.DataFrame:
    written = rows["category"].fillna("").replace("", "nothing")
    boxes = rows["white_cells"].astype(str)
    return pd.DataFrame(
        {
            "reason": reason,
            "cell": rows["photo"],
            "label": rows["label"],
            "detail": "the table names " + written + "; white cells boxed: " + boxes,
            "path": rows["path"],
        }
    )


def _conflict_rows(rows: pd.DataFrame) -> pd.DataFrame:
    written = rows["category"].fillna("").replace("", "nothing")
    return rows[["cell", "label", "path"]].assign(
        reason="folder and table", detail="the table names " + written
    )


def _disagreement_rows(judged: pd.DataFrame, paths: dict[str, str]) -> pd.DataFrame:
    if judged.empty:
        return judged
    rows = judged[judged["disagrees"]]
    times = rows["n_repeats_wrong"].astype(str)
    return rows.assign(
        reason="disagrees with its label",
        detail="unseen, taken for another class in each of " + times + " repeats",
        path=rows["cell"].map(paths),
    )


def _set_rows(rows: pd.DataFrame, reason: str) -> pd.DataFrame:
    photos = rows["photos"] if "photos" in rows else rows["cells"]
    return pd.DataFrame(
        {
            "reason": reason,
            "cell": photos.map(" ".join),
            "label": rows["labels"].map(" ".join),
            "detail": "in the splits " + rows["splits"].map(lambda s: ", ".join(s) or "(none)"),
            "path": rows["paths"].map(lambda paths: paths[0]),
        }
    )


def _cut_off_rows(cut_off: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: how many of its copies are cut off, and the one that shows least."""
    if cut_off.empty:
        return cut_off
    cells = cut_off.groupby("cell", sort=True)
    total = images.groupby("cell").size()
    rows = cells.agg(label=("label", "first"), path=("path", "first"), n=("path", "size"))
    return rows.reset_index().assign(
        reason="partly outside the frame",
        detail=lambda t: t["n"].astype(str) + " of " + t["cell"].map(total).astype(str) + " copies",
    )


def show_cells(photos: pd.DataFrame, images: pd.DataFrame) -> dict[str, str]:
    """Return for each cell an image to look at: its photo, else the copy that shows most of it."""
    rows = images[images["cell"].notna()]
    if "visible" in rows:
        rows = rows.sort_values("visible", ascending=False, kind="stable")
    copies = rows.drop_duplicates("cell").set_index("cell")["path"].to_dict()
    there = photos[photos["path"].map(lambda path: Path(path).is_file()).astype(bool)]
    return copies | dict(zip(there["photo"], there["path"], strict=True))
