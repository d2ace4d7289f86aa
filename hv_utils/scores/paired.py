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
from hv_utils.scores.intervals import scores_from_confusion
from hv_utils.scores.metrics import label_index
from hv_utils.scores.verdicts import gain_verdict


@dataclass(frozen=True)
class HeldOut:
    """What one condition said of cells that it had not seen.

    Attributes
    ----------
    labels : array, shape (C,), int
        Class of each cell.
    shares : array, shape (S, C, K), float 0…1
        In each of S repeats, the share of the cell's images that were given each class.
    losses : array, shape (S, C), float
        In each repeat, the mean of -log(probability of the true class) over the cell's images.
    """

    labels: np.ndarray
    shares: np.ndarray
    losses: np.ndarray

    def scores(self, repeats: np.ndarray, cells: np.ndarray) -> dict[str, np.ndarray]:
        """Score under weights of the repeats, shape (R, S), and of the cells, shape (R, C).

        Returns
        -------
        dict of str to array
            `macro_f1` and `log_loss` of shape (R,), `recall` of shape (R, K).
        """
        repeats = repeats / repeats.sum(1, keepdims=True)
        n_classes = self.shares.shape[2]
        verdicts = np.tensordot(repeats, self.shares, 1) * cells[:, :, None]
        truth = np.eye(n_classes)[self.labels]
        confusion = np.einsum("rcp,ct->rtp", verdicts, truth, optimize=True)
        found = scores_from_confusion(confusion)
        loss = ((repeats @ self.losses) * cells).sum(1) / cells.sum(1)
        return {"macro_f1": found["macro_f1"], "recall": found["recall"], "log_loss": loss}

    def each_repeat(self) -> np.ndarray:
        """Return the macro-F1 of each repeat by itself, shape (S,), float 0…1."""
        n_repeats, n_cells = self.losses.shape
        return self.scores(np.eye(n_repeats), np.ones((n_repeats, n_cells)))["macro_f1"]


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
    membership = np.eye(len(names))[:, codes] / np.bincount(codes)[:, None]
    verdicts = np.eye(len(classes))[probs.argmax(2)]
    true = np.take_along_axis(probs, index[None, :, None], 2)[:, :, 0]
    losses = -np.log(np.clip(true, 1e-7, 1))
    labels = np.zeros(len(names), int)
    labels[codes] = index
    return HeldOut(labels, membership @ verdicts, losses @ membership.T)


@dataclass(frozen=True)
class Resamples:
    """The weights of all resamples, the same for every condition, which makes differences paired.

    Attributes
    ----------
    repeats : array, shape (R, S), float
    cells : array, shape (R, C), float
        How often each repeat and each cell counts in each resample.
    level : float
        Share of the resamples inside an interval.
    """

    repeats: np.ndarray
    cells: np.ndarray
    level: float

    @classmethod
    def draw(
        cls, like: HeldOut, *, n_resamples: int = 2000, level: float = 0.95, seed: int = 0
    ) -> Resamples:
        """Draw cells and repeats with replacement, as many as `like` has."""
        if not 0 < level < 1 or n_resamples < 100:
            raise HematoVisionError(
                f"expected a level between 0 and 1 and at least 100 resamples, got {level} and "
                f"{n_resamples}: 0.95 and 2000 are usual"
            )
        rng = np.random.default_rng(seed)
        n_repeats, n_cells = like.losses.shape
        drawn = [rng.multinomial(n, np.full(n, 1 / n), n_resamples) for n in (n_repeats, n_cells)]
        return cls(drawn[0].astype(float), drawn[1].astype(float), level)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Return the percentile interval of resampled scores; those not defined are left out."""
        ends = [(1 - self.level) / 2, (1 + self.level) / 2]
        low, high = np.nanquantile(values, ends) if np.isfinite(values).any() else (np.nan,) * 2
        return float(low), float(high)


def compare(
    conditions: Mapping[str, HeldOut], classes: Sequence[str], resamples: Resamples
) -> pd.DataFrame:
    """Score every condition.

    Parameters
    ----------
    conditions : mapping of str to HeldOut
        Of the same cells and repeats.
    classes : sequence of str, length K
    resamples : Resamples

    Returns
    -------
    DataFrame
        One row for each condition and score: `condition`, `score` (`macro_f1`, `log_loss`, and
        `recall_<class>` for each class), `value`, `low`, `high`.
    """
    rows = []
    for condition, held in conditions.items():
        values, spread = _named(held, classes), _named(held, classes, resamples)
        for score, value in values.items():
            low, high = resamples.interval(spread[score])
            row = {"condition": condition, "score": score, "value": float(value[0])}
            rows.append(row | {"low": low, "high": high})
    return pd.DataFrame(rows)


def gains(
    conditions: Mapping[str, HeldOut],
    pairs: Mapping[str, tuple[str, str]],
    classes: Sequence[str],
    resamples: Resamples,
) -> pd.DataFrame:
    """Judge differences between conditions.

    Parameters
    ----------
    conditions, classes, resamples
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
    point = {name: _named(held, classes) for name, held in conditions.items()}
    spread = {name: _named(held, classes, resamples) for name, held in conditions.items()}
    rows = []
    for gain, (first, second) in pairs.items():
        for score in point[first]:
            value = float(point[first][score][0] - point[second][score][0])
            low, high = resamples.interval(spread[first][score] - spread[second][score])
            row = {"gain": gain, "score": score, "value": value, "low": low, "high": high}
            ends = (-high, -low) if score == "log_loss" else (low, high)
            rows.append(row | {"verdict": gain_verdict(*ends)})
    return pd.DataFrame(rows)


def _named(
    held: HeldOut, classes: Sequence[str], resamples: Resamples | None = None
) -> dict[str, np.ndarray]:
    """Return the scores by name, of the cells as they are or of all resamples."""
    n_repeats, n_cells = held.losses.shape
    whole = (np.ones((1, n_repeats)), np.ones((1, n_cells)))
    found = held.scores(*((resamples.repeats, resamples.cells) if resamples else whole))
    recalls = {f"recall_{name}": found["recall"][:, j] for j, name in enumerate(classes)}
    return {"macro_f1": found["macro_f1"], **recalls, "log_loss": found["log_loss"]}


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
