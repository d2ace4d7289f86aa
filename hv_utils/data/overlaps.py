"""Pairs of photos that show the same field of the smear, and the cells they have in common.

A smear was scanned to and fro, so that some cells were photographed twice. Two photos of one cell
are as much a leak as two copies of one photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from hv_utils.data import local_features as local
from hv_utils.data.photo_index import PhotoIndex, affine_columns, credible
from hv_utils.data.source_map import AFFINE, BOX, carry, white_boxes
from hv_utils.ground.files import atomic_path
from hv_utils.ground.runs import REFERENCE_RESULTS
from hv_utils.images.reading import COPY_SIZE, PHOTO_SIZE

OVERLAPS = REFERENCE_RESULTS / "kaggle-overlaps.csv"
OVERLAP_COLUMNS = ["photo", "other", "shared", "correlation", "inliers", *AFFINE, "same_cell"]
CANDIDATES = 8
NEIGHBOURS = 4
SAME_CELL = 0.3
"""Two boxes with this intersection over union, once laid over each other, are of one cell."""


def find_overlaps(index: PhotoIndex, *, annotations: Path, workers: int) -> pd.DataFrame:
    """Find the pairs of photos that show, in part or whole, the same field.

    Parameters
    ----------
    index : PhotoIndex
        The photos.
    annotations : Path
        Folder of the photos' VOC files.
    workers : int
        Threads.

    Returns
    -------
    pandas.DataFrame
        One row per pair: `photo` and `other` (names, `photo` the smaller), `shared` (share of the
        frame of `other` that `photo` covers), `correlation`, `inliers`, the affine map `a00` …
        `a12` from `photo` to `other`, both at 320x240, and `same_cell`, whether their white cells
        are one (missing where one of them has no box).
    """
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda number: _overlaps_of(index, number), range(len(index.photos)))
        pairs = {pair: fit for fits in found for pair, fit in fits.items()}
    rows = [
        {
            "photo": index.photos[first].name,
            "other": index.photos[second].name,
            "shared": round(fit.overlap, 3),
            "correlation": round(fit.correlation, 3),
            "inliers": fit.inliers,
            **affine_columns(fit.affine),
        }
        for (first, second), fit in sorted(pairs.items())
    ]
    table = pd.DataFrame(rows, columns=OVERLAP_COLUMNS[:-1])
    table = table.astype({"photo": "string", "other": "string"})
    return table.assign(same_cell=_same_cell(table, annotations))


def _overlaps_of(index: PhotoIndex, number: int) -> dict[tuple[int, int], local.Fit]:
    photo = index.photos[number]
    sides, _ = index.sides_like(photo.features[0], neighbours=NEIGHBOURS, besides=number)
    pairs = {}
    for side in sides[:CANDIDATES]:
        other = int(side) // 2
        pair = (min(number, other), max(number, other))
        first, second = index.photos[pair[0]], index.photos[pair[1]]
        # A stage does not mirror what lies on it, but a photo may have been kept twice, once so.
        matches = local.match(first.features[side % 2], second.features[0])
        fit = local.fit(first.grey, second.grey, matches)
        if fit is not None and credible(fit):
            pairs[pair] = fit
    return pairs


def _same_cell(pairs: pd.DataFrame, annotations: Path) -> pd.Series:
    """Tell of each pair whether the white cell of the first is the white cell of the second."""
    boxes = white_boxes([*pairs["photo"], *pairs["other"]], annotations)
    known = (pairs["photo"].isin(list(boxes)) & pairs["other"].isin(list(boxes))).to_numpy(bool)
    same = pd.Series(pd.NA, index=pairs.index, dtype="boolean")
    if not known.any():
        return same
    first, second = (
        np.array([[getattr(boxes[name], key) for key in BOX] for name in pairs.loc[known, column]])
        for column in ("photo", "other")
    )
    affine = pairs.loc[known, AFFINE].to_numpy(float).reshape(-1, 2, 3)
    frame = tuple(np.full(len(first), side) for side in COPY_SIZE)
    carried, _ = carry(first.astype(float), affine, frame)
    same[known] = _intersection_over_union(carried, second * COPY_SIZE[1] / PHOTO_SIZE[1]) >= (
        SAME_CELL
    )
    return same


def _intersection_over_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the overlap of boxes, shape (N, 4) each, row by row; 0 to 1, shape (N,)."""

    def area(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.prod(np.maximum(high - low, 0), axis=1)

    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    shared = area(low, high)
    either = area(first[:, :2], first[:, 2:]) + area(second[:, :2], second[:, 2:]) - shared
    return shared / np.maximum(either, 1e-9)


def group_photos(names: Sequence[str], pairs: pd.DataFrame) -> dict[str, str]:
    """Join photos that show the same field, directly or through others.

    Parameters
    ----------
    names : sequence of str
        All photos.
    pairs : pandas.DataFrame
        Columns `photo` and `other`.

    Returns
    -------
    dict of str to str
        Photo to group; a group is called by the smallest of its photos.
    """
    from scipy.cluster.hierarchy import DisjointSet

    joined = DisjointSet(names)
    for photo, other in zip(pairs["photo"], pairs["other"], strict=True):
        joined.merge(photo, other)
    called = {name: min(group) for group in joined.subsets() for name in group}
    return {name: called[name] for name in names}


def write_overlaps(pairs: pd.DataFrame | list[dict], path: str | Path) -> Path:
    """Write the table of `find_overlaps`, or its rows, as CSV, whole or not at all."""
    with atomic_path(Path(path)) as temporary:
        pd.DataFrame(pairs, columns=OVERLAP_COLUMNS).to_csv(
            temporary, index=False, lineterminator="\n"
        )
    return Path(path)


def read_overlaps(path: str | Path = OVERLAPS) -> pd.DataFrame:
    """Read the table of `find_overlaps`; by default the published one of the real set."""
    kinds = {"photo": "string", "other": "string", "same_cell": "boolean"}
    return pd.read_csv(path, dtype=kinds)
