"""Images that occur twice: the same file, or two photos of the same field.

What shows the same cell belongs on one side of a split, and counts once.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hv_utils.data.overlaps import group_photos
from hv_utils.images.reading import read_image

HASH_SIDE = 16
_ROWS = 256  # hashes compared with all others at once


def exact_duplicates(images: pd.DataFrame) -> pd.DataFrame:
    """Find images of the same content, byte for byte.

    Parameters
    ----------
    images : DataFrame
        Image table with `sha256`, `path`, `label`, `split`, `cell`.

    Returns
    -------
    DataFrame
        One row a set of equal files: `n`, `paths` (list of str), `labels`, `splits`, `cells`
        (each a sorted tuple of str without repeats).
    """
    rows = images[images["sha256"].notna() & images["sha256"].duplicated(keep=False)]
    columns = ["n", "paths", "labels", "splits", "cells"]
    found = [
        [len(part), list(part["path"]), *(_names(part[c]) for c in ("label", "split", "cell"))]
        for _, part in rows.groupby("sha256", sort=False)
    ]
    return pd.DataFrame(found, columns=columns)


def difference_hash(image: np.ndarray, *, side: int = HASH_SIDE) -> np.ndarray:
    """Reduce an image to bits that scaling, compression and brightness leave as they are.

    Parameters
    ----------
    image : array, shape (H, W, 3), uint8
    side : int
        The image is shrunk to `side` rows of `side` + 1 grey pixels.

    Returns
    -------
    array, shape (side * side,), bool
        Whether each pixel is darker than its right neighbour (*dHash*). Two unrelated images
        differ in about half of the bits.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (side + 1, side), interpolation=cv2.INTER_AREA).astype(int)
    return (small[:, 1:] > small[:, :-1]).ravel()


def hash_pairs(hashes: np.ndarray, *, max_bits: int) -> pd.DataFrame:
    """Find pairs of hashes that differ in few bits.

    Parameters
    ----------
    hashes : array, shape (N, B), bool
    max_bits : int
        Bits that may differ.

    Returns
    -------
    DataFrame
        `first`, `second` (positions, first < second) and `bits`, the nearest pair first.
    """
    signs = np.where(hashes, 1, -1).astype(np.float32)
    n_bits, found = signs.shape[1], [np.zeros((0, 3), int)]
    for start in range(0, len(signs), _ROWS):
        # A product counts bits that agree less those that differ.
        bits = (n_bits - signs[start : start + _ROWS] @ signs[start:].T) / 2
        first, second = np.nonzero(np.triu(bits <= max_bits, 1))
        found.append(np.stack([first + start, second + start, bits[first, second]], 1).astype(int))
    pairs = pd.DataFrame(np.concatenate(found), columns=["first", "second", "bits"])
    return pairs.sort_values("bits", kind="stable", ignore_index=True)


def near_duplicates(
    photos: pd.DataFrame, images: pd.DataFrame, *, max_bits: int = 40
) -> pd.DataFrame:
    """Find original photos that show the same field.

    Two ways find them: the difference hash sees photos that are alike as a whole, and the `group`
    of the image table knows photos that overlap, shifted as they may be.

    Parameters
    ----------
    photos : DataFrame
        photos.csv; photos without a file are left out.
    images : DataFrame
        Image table with `cell`, `group` and `split`.
    max_bits : int
        Bits of 256 in which the hashes of one field may differ.

    Returns
    -------
    DataFrame
        One row a set: `photos`, `paths` (lists of str, by number), `labels`, `splits` (tuples),
        `bits` (the fewest that differ, NaN where hashes found nothing), `overlap` (whether the
        groups hold it).
    """
    there = photos[photos["path"].map(lambda path: Path(path).is_file()).astype(bool)]
    there = there.drop_duplicates("photo").sort_values("photo", ignore_index=True)
    columns = ["photos", "paths", "labels", "splits", "bits", "overlap"]
    if there.empty:
        return pd.DataFrame(columns=columns)
    hashes = np.stack([difference_hash(read_image(path)) for path in there["path"]])
    pairs = hash_pairs(hashes, max_bits=max_bits)
    known = images.dropna(subset=["cell", "group"]).drop_duplicates("cell").set_index("cell")
    groups = there["photo"].map(known["group"]) if len(known) else pd.Series(pd.NA, there.index)
    splits = images.dropna(subset=["cell"]).groupby("cell")["split"].agg(set).to_dict()
    at = there.index.to_series()
    shared = pd.DataFrame({"photo": at.groupby(groups).transform("first"), "other": at}).dropna()
    alike = pairs.rename(columns={"first": "photo", "second": "other"})
    together = at.map(group_photos(at, pd.concat([shared, alike])))
    rows = []
    for _, part in there.groupby(together):
        if len(part) == 1:
            continue
        bits = pairs.loc[pairs["first"].isin(part.index), "bits"]
        rows.append(
            {
                "photos": list(part["photo"]),
                "paths": list(part["path"]),
                "labels": _names(part["label"]),
                "splits": _names(pd.Series([s for p in part["photo"] for s in splits.get(p, ())])),
                "bits": bits.min(),
                "overlap": bool(groups[part.index].dropna().duplicated().any()),
            }
        )
    return pd.DataFrame(rows, columns=columns)


def _names(values: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(set(values.dropna().astype(str))))
