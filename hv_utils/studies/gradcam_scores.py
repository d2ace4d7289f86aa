"""How much of a heat map lies on the cell: energy, peak, and what chance would give.

The energy-based pointing game asks which share of the map falls on the target (Wang et al., CVPR
Workshops 2020), the pointing game whether its peak does (Zhang et al., IJCV 2018). Both mean
something only beside the share of the image that the target takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.heat_maps import enlarge
from hv_utils.images.reading import read_image

NUCLEUS_FROM, CELL_FROM = 192, 64  # grey levels of a truth mask: 128 cytoplasm, 255 nucleus
TARGETS = ("nucleus", "cell", "box")


def energy_inside(heat_map: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of a heat map that falls on a target.

    Parameters
    ----------
    heat_map : numpy.ndarray
        Shape (h, w), at least 0, not normalised; enlarged to the mask where their sizes differ.
    mask : numpy.ndarray
        Shape (height, width), bool, True on the target.

    Returns
    -------
    float
        0 to 1; NaN for a map that is zero everywhere.
    """
    heat = _on_grid_of(mask, heat_map)
    total = heat.sum(dtype=np.float64)
    return float(heat[mask].sum(dtype=np.float64) / total) if total > 0 else float("nan")


def energy_ceiling(grid: tuple[int, int], mask: np.ndarray) -> float:
    """Return the largest share of energy that any map of a grid can have on a target.

    All heat in the grid's best point still spreads around it when the map is enlarged, so on a
    target that is smaller than the grid is coarse even the best map falls short of 1.

    Parameters
    ----------
    grid : tuple of int
        (h, w) of the map.
    mask : numpy.ndarray
        Shape (height, width), bool, True on the target.

    Returns
    -------
    float
        0 to 1.
    """
    if tuple(grid) == mask.shape:  # nothing is enlarged: all heat in one pixel
        return float(mask.any())
    # Enlarging is linear, and works on rows and columns one after the other.
    down, across = (
        enlarge(np.eye(old), (new, old)) for old, new in zip(grid, mask.shape, strict=True)
    )
    inside = down.T @ mask @ across
    return float((inside / np.outer(down.sum(axis=0), across.sum(axis=0))).max())


def peak_inside(heat_map: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether the hottest point falls on a target; False for a flat map.

    Parameters as in `energy_inside`.
    """
    heat = _on_grid_of(mask, heat_map)
    if not heat.max() > heat.min():
        return False
    return bool(mask[np.unravel_index(np.argmax(heat), heat.shape)])


def _on_grid_of(mask: np.ndarray, heat_map: np.ndarray) -> np.ndarray:
    if np.ndim(heat_map) != 2 or np.ndim(mask) != 2:
        raise HematoVisionError(
            f"expected one heat map and one mask of two dimensions each, but got shapes "
            f"{np.shape(heat_map)} and {np.shape(mask)}: pass them one by one"
        )
    same = np.shape(heat_map) == np.shape(mask)
    return np.asarray(heat_map) if same else enlarge(heat_map, mask.shape)


def score_map(heat_map: np.ndarray, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Score one heat map against several targets.

    Parameters
    ----------
    heat_map : numpy.ndarray
        Shape (h, w), at least 0.
    targets : mapping of str to numpy.ndarray
        Bool masks of shape (height, width) by name, such as `nucleus`, `cell`, `box`.

    Returns
    -------
    dict of str to float
        For each target `energy_<name>`, `area_<name>` (share of the image that it takes: what an
        even map would score), `ceiling_<name>` (what the best map of this grid would score) and
        `peak_<name>` (0 or 1). NaN for an empty target.
    """
    scores = _hits(heat_map, targets)
    for name, mask in targets.items():
        found = bool(mask.any())
        scores[f"area_{name}"] = float(mask.mean()) if found else float("nan")
        ceiling = energy_ceiling(heat_map.shape, mask) if found else float("nan")
        scores[f"ceiling_{name}"] = ceiling
    return scores


def _hits(heat_map: np.ndarray, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return those scores of `score_map` that depend on the map and not on its grid alone."""
    scores: dict[str, float] = {}
    for name, mask in targets.items():
        found = bool(mask.any())
        scores[f"energy_{name}"] = energy_inside(heat_map, mask) if found else float("nan")
        scores[f"peak_{name}"] = float(peak_inside(heat_map, mask)) if found else float("nan")
    return scores


def random_map(
    shape: tuple[int, int], rng: np.random.Generator, *, grid: tuple[int, int] = (7, 7)
) -> np.ndarray:
    """Return a random smooth map: the yardstick of a method that knows nothing.

    Parameters
    ----------
    shape : tuple of int
        (height, width).
    rng : numpy.random.Generator
    grid : tuple of int
        Points that are drawn, as many as a feature map has; between them it is interpolated.

    Returns
    -------
    numpy.ndarray
        Of `shape`, dtype float32, at least 0.
    """
    drawn = np.maximum(rng.normal(size=grid), 0) + 1e-6  # like a Grad-CAM map after its ReLU
    return enlarge(drawn, shape)


def read_mask(path: str | Path) -> dict[str, np.ndarray]:
    """Read a truth mask of the demo (grey: 0 background, 128 cytoplasm, 255 nucleus).

    Returns
    -------
    dict of str to numpy.ndarray
        `nucleus` and `cell` (nucleus and cytoplasm), bool, shape (height, width).

    Raises
    ------
    HematoVisionError
        Where the file is missing or no image.
    """
    grey = read_image(path)[:, :, 0]
    return {"nucleus": grey >= NUCLEUS_FROM, "cell": grey >= CELL_FROM}


def box_mask(
    shape: tuple[int, int], xmin: float, ymin: float, xmax: float, ymax: float
) -> np.ndarray:
    """Return a mask of `shape` (height, width) that is True inside a box of pixel coordinates."""
    height, width = shape
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
    return (x >= xmin) & (x < xmax) & (y >= ymin) & (y < ymax)


def targets_of(row: Any) -> dict[str, np.ndarray]:
    """Return what is known of where the cell lies in an image, as masks of the file's own size.

    Parameters
    ----------
    row : named tuple or pandas.Series
        A row of the image table, with `width` and `height` and, where known, `mask` (path of a
        truth mask) and the box `xmin`, `ymin`, `xmax`, `ymax` in pixels.

    Returns
    -------
    dict of str to numpy.ndarray
        Any of `nucleus`, `cell`, `box`, bool, shape (height, width).
    """
    if isinstance(row, pd.Series):
        row = SimpleNamespace(**row)  # a Series has methods of its own, one of them called mask
    masks: dict[str, np.ndarray] = {}
    if isinstance(getattr(row, "mask", None), str):
        masks |= read_mask(row.mask)
    corners = [getattr(row, name, np.nan) for name in ("xmin", "ymin", "xmax", "ymax")]
    if not pd.isna(corners).any():
        masks["box"] = box_mask((int(row.height), int(row.width)), *corners)
    return masks


def score_maps(table: pd.DataFrame, heat_maps: np.ndarray, *, seed: int = 0) -> pd.DataFrame:
    """Score the heat map of each image, and a random map beside it.

    Parameters
    ----------
    table : pandas.DataFrame
        N rows of the image table, with `predicted`.
    heat_maps : numpy.ndarray
        Shape (N, h, w), not normalised: stretching a map changes its shares.
    seed : int
        Of the random maps.

    Returns
    -------
    pandas.DataFrame
        N rows: `path`, `label`, `predicted`, `cell`, the scores of `score_map` for each target
        that is known, and the same with the prefix `random_` for the random map.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for row, heat_map in zip(table.itertuples(), heat_maps, strict=True):
        targets = targets_of(row)
        chance = _hits(random_map(heat_map.shape, rng, grid=heat_map.shape), targets)
        rows.append(
            {name: getattr(row, name) for name in ("path", "label", "predicted", "cell")}
            | score_map(heat_map, targets)
            | {f"random_{name}": value for name, value in chance.items()}
        )
    return pd.DataFrame(rows)
