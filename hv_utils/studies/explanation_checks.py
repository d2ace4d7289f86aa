"""Checks that an explanation has to pass, the same for every method, with their rules as data.

A map may lie on the cell and yet say nothing of the verdict, and studies of medical images find no
method that passes every check (Arun et al., Radiology: AI 2021). So each method is judged by all
of them, and chance beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import spearmanr

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.heat_maps import enlarge
from hv_utils.network.judges import TRAINED
from hv_utils.scores.bootstrap import mean_interval
from hv_utils.scores.metrics import wilson
from hv_utils.scores.verdicts import CONFIRMED, FAIR_SHARE, REFUTED, UNDECIDED
from hv_utils.studies.attributions import CONTROLS, RANDOM, Asked, Attribution
from hv_utils.studies.gradcam_scores import random_map, score_map
from hv_utils.studies.regions import painted

PASSED, FAILED = "passed", "failed"
BLOCK = 16  # pixels: maps are compared, and images taken apart, in blocks of this side
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)  # of the image; a cell takes about a tenth
AGAIN = ("again a", "again b")  # judges that the same recipe has taught twice
STAGE, CHANCE = "similar_", "chance"


@dataclass(frozen=True)
class Check:
    """One check and its rule: the whole interval of a mean on the right side of a bound.

    Attributes
    ----------
    name : str
    column : str
        Of the scores of `score_image`. `similar_` stands for all that begin so: the worst of them
        counts.
    bound : float
    less_is_better : bool
    means : str
        What it asks, in plain words.
    trust : bool
        Whether a method that fails it is not to be believed, wherever its map lies.
    """

    name: str
    column: str
    bound: float
    means: str
    less_is_better: bool = False
    trust: bool = False

    @property
    def rule(self) -> str:
        """The rule in words."""
        side = "below" if self.less_is_better else "above"
        return f"passed if the whole interval lies {side} {self.bound:g}"


MOSTLY = "mostly on the nucleus"
CHECKS = (
    Check(
        "on the nucleus", "gain_nucleus", 0, "more of the map on the nucleus than its area explains"
    ),
    Check("on the cell", "gain_cell", 0, "more of the map on the cell than its area explains"),
    Check(MOSTLY, "energy_nucleus", FAIR_SHARE, "more than half of the map on the nucleus"),
    Check("peak on the nucleus", "peak_nucleus", 0.5, "the strongest place is on the nucleus"),
    *(
        Check(
            f"{act}, {fill}",
            f"{act}_{fill}",
            0,
            f"{does} the places that it names {effect} more than places drawn by chance",
            trust=True,
        )
        for act, does, effect in (
            ("deletion", "painting over", "lowers the probability"),
            ("insertion", "showing nothing but", "restores the probability"),
        )
        for fill in ("ground", "blur")
    ),
    Check(
        "needs the weights",
        STAGE,
        0.5,
        "another map when the weights are shuffled, at each stage from the output down "
        "(rank correlation)",
        less_is_better=True,
        trust=True,
    ),
    Check(
        "the same again",
        "repeat",
        0.5,
        "the same map from a second training of the head (rank correlation)",
        trust=True,
    ),
    Check("agrees with others", "agreement", 0.5, "the map of the other methods, on average"),
    Check("a second", "seconds", 1, "seconds for one image", less_is_better=True),
)
# One check in forty would pass by luck what is no better than chance, and a method has twelve: the
# intervals are so wide that with 95 % none of a method's misses its mean (Bonferroni).
LEVEL = 1 - 0.05 / len(CHECKS)
RESAMPLES = 4000  # ten of which lie outside so wide an interval


def in_blocks(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average a map over blocks of the image, so that maps of any grid can be compared.

    Parameters
    ----------
    heat : numpy.ndarray, shape (h, w)
    size : tuple of int
        (height, width) of the image, at least `BLOCK` each.

    Returns
    -------
    numpy.ndarray
        Shape (height // BLOCK, width // BLOCK), float32.

    Raises
    ------
    HematoVisionError
        Where the image is smaller than a block.
    """
    if min(size) < BLOCK:
        raise HematoVisionError(
            f"expected an image of {BLOCK}x{BLOCK} pixels at least, but got {size[1]}x{size[0]}: "
            "bring it to the model's input size first"
        )
    full = heat if heat.shape == tuple(size) else enlarge(heat, size)
    grid = size[1] // BLOCK, size[0] // BLOCK
    return cv2.resize(np.asarray(full, np.float32), grid, interpolation=cv2.INTER_AREA)


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Return the rank correlation of two maps of one shape; 0 where one of them is flat."""
    a, b = np.ravel(a), np.ravel(b)
    if not (np.isfinite(a).all() and np.isfinite(b).all() and np.ptp(a) > 0 and np.ptp(b) > 0):
        return 0.0
    return float(spearmanr(a, b).statistic)


def hidden_parts(heat: np.ndarray, size: tuple[int, int], shares: Sequence[float]) -> np.ndarray:
    """Return the strongest blocks of a map, as masks: bool (len(shares), height, width)."""
    blocks = in_blocks(heat, size)
    order = np.argsort(-blocks, axis=None, kind="stable")
    masks = []
    for share in shares:
        mask = np.zeros(blocks.size, np.uint8)
        mask[order[: max(1, round(share * blocks.size))]] = 1
        mask = cv2.resize(mask.reshape(blocks.shape), size[::-1], interpolation=cv2.INTER_NEAREST)
        masks.append(mask > 0)
    return np.array(masks)


def faithfulness(
    asked: Asked,
    image: np.ndarray,
    class_index: int,
    heats: Mapping[str, np.ndarray],
    fills: Mapping[str, np.ndarray],
    *,
    shares: Sequence[float] = SHARES,
) -> dict[str, dict[str, float]]:
    """Act on the maps: paint over the strongest places, or show nothing else (Petsiuk et al.).

    Parameters
    ----------
    asked : Asked
        Whose first judge is asked.
    image : numpy.ndarray, shape (H, W, 3), uint8
    class_index : int
    heats : mapping of str to numpy.ndarray
        A map for each method.
    fills : mapping of str to numpy.ndarray
        What is painted, see `regions.fills`.
    shares : sequence of float
        Of the image that are painted over or shown, above 0 and below 1.

    Returns
    -------
    dict of dict
        For each method `deletion_<fill>` and `insertion_<fill>`: the mean probability of the class
        over the shares. Small is good in the first, large in the second.
    """
    acts, pictures = [], []
    for name, heat in heats.items():
        strongest = hidden_parts(heat, image.shape[:2], shares)
        for fill, paint in fills.items():
            for act, hidden in (("deletion", strongest), ("insertion", ~strongest)):
                acts.append((name, f"{act}_{fill}"))
                pictures.append(painted(image, paint, hidden))
    logits = asked.first(np.concatenate(pictures)).astype(float)
    probs = softmax(logits, axis=1)[:, class_index]
    found: dict[str, dict[str, float]] = {name: {} for name in heats}
    for (name, act), value in zip(acts, probs.reshape(len(acts), -1).mean(axis=1), strict=True):
        found[name][act] = float(value)
    return found


def score_image(
    asked: Asked,
    image: np.ndarray,
    class_index: int,
    found: Mapping[str, Attribution],
    targets: Mapping[str, np.ndarray],
    fills: Mapping[str, np.ndarray],
    *,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Score the maps of all methods for one image.

    Parameters
    ----------
    asked, image, class_index, fills, shares
        As for `faithfulness`.
    found : mapping of str to Attribution
        From `attributions.attributions`.
    targets : mapping of str to numpy.ndarray
        `nucleus` and `cell`, bool, of the image's size.
    seed : int
        Of the random map that deletion and insertion are compared with.

    Returns
    -------
    list of dict
        One a method: `method`, the scores of `gradcam_scores.score_map` of what speaks for the
        class, `gain_<target>` (energy less area), `deletion_<fill>` and `insertion_<fill>` (how
        much better than the random map), `similar_<stage>`, `repeat`, `agreement`, `seconds`.
    """
    size, grid = image.shape[:2], found[RANDOM].maps[TRAINED].shape
    drawn = random_map(grid, np.random.default_rng([seed, 1]), grid=grid)
    heats = {name: one.maps[TRAINED] for name, one in found.items()}
    acted = faithfulness(asked, image, class_index, {**heats, CHANCE: drawn}, fills, shares=shares)
    blocks = {name: in_blocks(heat, size) for name, heat in heats.items()}
    rows = []
    for name, one in found.items():
        row = {"method": name, **score_map(np.maximum(heats[name], 0), targets)}
        for target, mask in targets.items():
            row[f"gain_{target}"] = row[f"energy_{target}"] - row[f"area_{target}"]
            if one.regions is not None:
                row[f"ceiling_{target}"] = one.regions.ceiling(mask)
                strongest = heats[name] == heats[name].max()
                row[f"peak_{target}"] = float(mask[strongest].mean() > 0.5)  # of a whole region
        for act, value in acted[name].items():
            better = acted[CHANCE][act] - value
            row[act] = better if act.startswith("deletion") else -better
        others = [other for other in found if other not in (name, *CONTROLS)]
        alike = [similarity(blocks[name], blocks[other]) for other in others]
        row["agreement"] = float(np.mean(alike)) if alike else float("nan")
        rows.append({**row, **stability(one, size), "seconds": one.seconds})
    return rows


def stability(one: Attribution, size: tuple[int, int]) -> dict[str, float]:
    """Compare a method's maps of different judges: shuffled ones, and two that learnt alike.

    Parameters
    ----------
    one : Attribution
    size : tuple of int
        (height, width) of the image.

    Returns
    -------
    dict
        `similar_<judge>` with the map of the trained network, and `repeat` where `AGAIN` are
        among the judges: rank correlations.
    """
    blocks = {name: in_blocks(heat, size) for name, heat in one.maps.items()}
    stages = [name for name in blocks if name not in (TRAINED, *AGAIN)]
    found = {STAGE + name: similarity(blocks[TRAINED], blocks[name]) for name in stages}
    if set(AGAIN) <= set(blocks):
        found["repeat"] = similarity(*(blocks[name] for name in AGAIN))
    return found


def judge(check: Check, values: pd.Series, cells: pd.Series, *, seed: int = 0) -> dict[str, Any]:
    """Judge one method by one check: the mean, its interval over cells of `LEVEL`, the verdict.

    Parameters
    ----------
    check : Check
    values : pandas.Series
        One a cell; NaN is left out. Of scores that are 0 or 1 the interval is Wilson's.
    cells : pandas.Series
    seed : int

    Returns
    -------
    dict
        `value`, `low`, `high` (None where fewer than two cells are left), and `verdict`:
        `passed`, `failed` where the whole interval lies on the wrong side, or `undecided`.
    """
    there = values.dropna().astype(float)
    if len(there) < 2:
        value = float(there.mean()) if len(there) else float("nan")
        return {"value": value, "low": None, "high": None, "verdict": UNDECIDED}
    if there.isin([0, 1]).all() and check.bound not in (0, 1):
        ends = wilson(int(there.sum()), len(there), level=LEVEL)
    else:
        options = {"level": LEVEL, "n_resamples": RESAMPLES, "seed": seed}
        ends = mean_interval(there, cells[there.index], **options)
    low, high, bound = ends["low"], ends["high"], check.bound
    if check.less_is_better:
        low, high, bound = -high, -low, -bound
    verdict = PASSED if low > bound else FAILED if high <= bound else UNDECIDED
    return {"value": float(there.mean()), "low": ends["low"], "high": ends["high"]} | {
        "verdict": verdict
    }


def judge_all(scores: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Judge every method by every check.

    Parameters
    ----------
    scores : pandas.DataFrame
        Rows of `score_image` with `cell`, one image of each cell.
    seed : int
        Of the resamples.

    Returns
    -------
    pandas.DataFrame
        `method`, `check`, and what `judge` gives; the methods in their order.
    """
    rows = []
    for method, part in scores.groupby("method", sort=False):
        for check in CHECKS:
            columns = [
                name
                for name in part.columns[part.notna().any()]
                if name == check.column or (check.column == STAGE and name.startswith(STAGE))
            ]
            worst = part[columns].mean().idxmax() if columns else None
            values = part[worst] if worst else pd.Series(dtype=float)
            found = judge(check, values, part["cell"], seed=seed)
            rows.append({"method": method, "check": check.name, **found})
    return pd.DataFrame(rows)


def trusted(table: pd.DataFrame) -> list[str]:
    """Return the methods that fail no check which their word depends on; controls are none."""
    vital = {check.name for check in CHECKS if check.trust}
    failed = table[table["check"].isin(vital) & (table["verdict"] == FAILED)]["method"]
    return [name for name in table["method"].unique() if name not in {*failed, *CONTROLS}]


TRUST_RULE = (
    "judged by the methods that fail none of the checks on which their word depends (deletion, "
    "insertion, shuffled weights, a second training): confirmed where each of them puts more than "
    "half of its map on the nucleus with its whole interval, not confirmed where each puts less, "
    "else undecided, as where no method is left or no outline of a nucleus is known"
)


def focus_verdict(table: pd.DataFrame) -> str:
    """Judge the claim that the network is focused on the nuclei, see `TRUST_RULE`."""
    mostly = table[table["check"] == MOSTLY].set_index("method")["verdict"]
    found = {mostly[name] for name in trusted(table)}
    return {frozenset({PASSED}): CONFIRMED, frozenset({FAILED}): REFUTED}.get(
        frozenset(found), UNDECIDED
    )


def stages_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean similarity of each method's maps, a column for each stage of shuffling."""
    stages = [name for name in scores if name.startswith(STAGE)]
    means = scores.groupby("method", sort=False)[stages].mean()
    return means.rename(columns=lambda name: name.removeprefix(STAGE))


def wide(table: pd.DataFrame, *, column: str = "verdict") -> pd.DataFrame:
    """Return the table with a row for each check and a column for each method."""
    found = table.pivot(index="check", columns="method", values=column)
    checks = [check.name for check in CHECKS if check.name in found.index]
    return found.loc[checks, list(dict.fromkeys(table["method"]))].rename_axis(None, axis=1)


def as_record(scores: pd.DataFrame, *, seed: int = 0) -> dict[str, Any]:
    """Return what is kept of a measurement.

    Returns
    -------
    dict
        `n_cells`, `level` (of each interval), `table` (records of `judge_all`), `stages`, `means`
        (of each method's scores), `trusted`, `verdict`.
    """
    table = judge_all(scores, seed=seed)
    means = scores.groupby("method", sort=False).mean(numeric_only=True)
    return {
        "n_cells": int(scores["cell"].nunique()),
        "level": LEVEL,
        "table": table.to_dict("records"),
        "stages": stages_table(scores).to_dict("index"),
        "means": means.to_dict("index"),
        "trusted": trusted(table),
        "verdict": focus_verdict(table),
    }
