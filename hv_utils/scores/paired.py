"""Paired comparisons: which of two conditions judges held-out cells better, and how surely.

Each cell counts once, however many copies it has. For the interval of a difference, cells and
repeats are resampled together for both sides, so what both find hard cancels out
{cite:p}`efron1993,field2007`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.predictions import label_index
from hv_utils.scores.bootstrap import percentiles, resample
from hv_utils.scores.calibration import image_losses
from hv_utils.scores.intervals import scores_from_confusion
from hv_utils.scores.verdicts import gain_verdict


@dataclass(frozen=True)
class HeldOut:
    """What one condition said of cells that it had not seen.

    Attributes
    ----------
    classes : tuple of str, length K
    labels : array, shape (C,), int
        Class of each cell.
    shares : array, shape (S, C, K), float 0…1
        In each of S repeats, the share of the cell's images that were given each class.
    losses : array, shape (S, C), float
        In each repeat, the mean of -log(probability of the true class) over the cell's images.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    shares: np.ndarray
    losses: np.ndarray

    def scores(
        self, repeats: np.ndarray | None = None, cells: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Score under weights of the repeats, shape (R, S), and of the cells, shape (R, C).

        Without weights every repeat and every cell counts once, and R is 1.

        Returns
        -------
        dict of str to array, shape (R,)
            `macro_f1`, `recall_<class>` for each class, `log_loss`.
        """
        n_repeats, n_cells = self.losses.shape
        repeats = np.ones((1, n_repeats)) if repeats is None else repeats
        cells = np.ones((len(repeats), n_cells)) if cells is None else cells
        repeats = repeats / repeats.sum(1, keepdims=True)
        verdicts = np.tensordot(repeats, self.shares, 1) * cells[:, :, None]
        confusion = [verdicts[:, self.labels == j].sum(1) for j in range(len(self.classes))]
        found = scores_from_confusion(np.stack(confusion, 1))
        loss = ((repeats @ self.losses) * cells).sum(1) / cells.sum(1)
        recalls = {f"recall_{name}": found["recall"][:, j] for j, name in enumerate(self.classes)}
        return {"macro_f1": found["macro_f1"], **recalls, "log_loss": loss}

    def each_repeat(self) -> np.ndarray:
        """Return the macro-F1 of each repeat by itself, shape (S,), float 0…1."""
        return self.scores(np.eye(len(self.losses)))["macro_f1"]


def collect(table: pd.DataFrame, probs: np.ndarray, classes: Sequence[str]) -> HeldOut:
    """Average the verdicts over the images of each cell.

    Parameters
    ----------
    table : DataFrame
        `cell` and `label`, N rows.
    probs : array, shape (S, N, K), float 0…1
        Probabilities for images held out, in each repeat.
    classes : sequence of str, length K

    Returns
    -------
    HeldOut
    """
    codes, names = pd.factorize(table["cell"].to_numpy(object))
    index = label_index(table["label"], classes)
    shape = (len(names), len(classes))
    n_images = np.bincount(codes)
    verdicts = codes * shape[1] + probs.argmax(2)
    counts = [np.bincount(row, minlength=np.prod(shape)).reshape(shape) for row in verdicts]
    losses = [np.bincount(codes, row) for row in image_losses(index, probs)]
    labels = np.zeros(len(names), int)
    labels[codes] = index
    shares = np.stack(counts) / n_images[:, None]
    return HeldOut(tuple(classes), labels, shares, np.stack(losses) / n_images)


def resampled(
    conditions: Mapping[str, HeldOut], *, n_resamples: int = 2000, seed: int = 0
) -> dict[tuple[str, str], np.ndarray]:
    """Score every condition under the same resamples of repeats and cells.

    Parameters
    ----------
    conditions : mapping of str to HeldOut
        Of the same cells and repeats.
    n_resamples, seed
        As in `bootstrap.resample`.

    Returns
    -------
    dict of (condition, score) to array, shape (R,)
        The scores of `HeldOut.scores`.
    """

    def scores(*weights: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        return {
            (name, score): values
            for name, held in conditions.items()
            for score, values in held.scores(*weights).items()
        }

    n_repeats, n_cells, n_classes = next(iter(conditions.values())).shares.shape
    width = n_cells * n_classes
    return resample(scores, n_repeats, n_cells, width=width, n_resamples=n_resamples, seed=seed)


def compare(
    conditions: Mapping[str, HeldOut],
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score every condition.

    Parameters
    ----------
    conditions, n_resamples, seed
        As in `resampled`.
    level : float
        Share of the resamples inside an interval.

    Returns
    -------
    DataFrame
        One row for each condition and score: `condition`, `score`, `value`, `low`, `high`.
    """
    spread = resampled(conditions, n_resamples=n_resamples, seed=seed)
    rows = [
        {"condition": name, "score": score, "value": float(value[0])}
        | percentiles(spread[name, score], level=level)
        for name, held in conditions.items()
        for score, value in held.scores().items()
    ]
    return pd.DataFrame(rows)


def gains(
    conditions: Mapping[str, HeldOut],
    pairs: Mapping[str, tuple[str, str]],
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Judge differences between conditions.

    Parameters
    ----------
    conditions, level, n_resamples, seed
        As in `compare`.
    pairs : mapping of str to (with, without)
        Name of each difference, and the two conditions; the value is that of the first less that
        of the second.

    Returns
    -------
    DataFrame
        One row for each pair and score: `gain`, `score`, `value`, `low`, `high`, and `verdict` by
        `verdicts.GAIN_RULE` (for `log_loss`, where less is better, by its reverse).
    """
    spread = resampled(conditions, n_resamples=n_resamples, seed=seed)
    point = {name: held.scores() for name, held in conditions.items()}
    rows = []
    for gain, (first, second) in pairs.items():
        for score in point[first]:
            value = float(point[first][score][0] - point[second][score][0])
            ends = percentiles(spread[first, score] - spread[second, score], level=level)
            verdict = gain_verdict(ends, less_is_better=score == "log_loss")
            rows.append({"gain": gain, "score": score, "value": value, **ends, "verdict": verdict})
    return pd.DataFrame(rows)


def seed_spread(values: Sequence[float], *, level: float = 0.95) -> dict[str, float]:
    """Return the standard deviation over seeds with its interval.

    Parameters
    ----------
    values : sequence of float
        One score a seed, two at least.
    level : float
        Of the interval, by the chi-squared distribution; it takes the scores as normal.

    Returns
    -------
    dict
        `sd`, `low`, `high`.
    """
    n = len(values)
    if n < 2:
        raise HematoVisionError(
            f"expected scores of at least two seeds to see a spread, got {n}: raise the number of "
            "seeds"
        )
    sd = float(np.std(values, ddof=1))
    ends = [sd * np.sqrt((n - 1) / chi2.ppf((1 + sign * level) / 2, n - 1)) for sign in (1, -1)]
    return {"sd": sd, "low": float(ends[0]), "high": float(ends[1])}
