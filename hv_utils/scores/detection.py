"""Scores of found boxes against true ones: matches, average precision, finds and misses a field.

A found box counts as right where it overlaps a true one of its kind by at least `IOU` (Everingham
et al. 2010, who score each true box once). Intervals resample photographs, since cells of one
photograph share its focus and its stain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hv_utils.scores.bootstrap import percentiles

IOU = 0.5  # least overlap of a find with the truth
RESAMPLES = 1000


@dataclass(frozen=True)
class Matched:
    """The finds of one kind in one photograph, held against the truth.

    Attributes
    ----------
    scores : numpy.ndarray, shape (F,), float
        Of the finds, 0 to 1, falling.
    right : numpy.ndarray, shape (F,), bool
        Which of them are the first to overlap a true box.
    n_true : int
        True boxes.
    """

    scores: np.ndarray
    right: np.ndarray
    n_true: int

    def above(self, threshold: float) -> Matched:
        """Return what is left of the finds at a threshold."""
        kept = self.scores >= threshold
        return Matched(self.scores[kept], self.right[kept], self.n_true)


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each box with each other.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (F, 4) and (S, 4), float
        xmin, ymin, xmax, ymax.

    Returns
    -------
    numpy.ndarray, shape (F, S), float, 0 to 1
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    area = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    return shared / np.maximum(area[0][:, None] + area[1][None] - shared, 1e-9)


def match(
    found: np.ndarray, scores: np.ndarray, true: np.ndarray, *, least: float = IOU
) -> Matched:
    """Hold the finds of one photograph against its true boxes, the surest find first.

    Parameters
    ----------
    found : numpy.ndarray, shape (F, 4), float
    scores : numpy.ndarray, shape (F,), float
    true : numpy.ndarray, shape (T, 4), float
    least : float
        Overlap that makes a find right.

    Returns
    -------
    Matched
    """
    order = np.argsort(-scores, kind="stable")
    shared = overlaps(found[order].reshape(-1, 4), true.reshape(-1, 4))
    right = np.zeros(len(order), bool)
    for number in range(len(order) if len(true) else 0):
        best = int(shared[number].argmax())
        if shared[number, best] >= least:
            right[number] = True
            shared[:, best] = -1  # a true box is found once
    return Matched(scores[order], right, len(true))


def average_precision(matched: Sequence[Matched]) -> float:
    """Return the area below the curve of precision over recall, as VOC has it since 2010.

    Parameters
    ----------
    matched : sequence of Matched
        One a photograph.

    Returns
    -------
    float
        0 to 1; NaN where nothing is there to be found.
    """
    n_true = sum(one.n_true for one in matched)
    if not n_true:
        return float("nan")
    scores = np.concatenate([one.scores for one in matched])
    right = np.concatenate([one.right for one in matched])[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best_from_here * right).sum() / n_true)


def detection_scores(
    matched: Sequence[Matched], threshold: float, *, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """Score one kind over many photographs.

    Parameters
    ----------
    matched : sequence of Matched
        One a photograph, with finds of all scores.
    threshold : float
        From which score on a find counts; average precision alone needs none.
    seed : int
        Of the resampled photographs.

    Returns
    -------
    dict
        `average_precision`, `recall`, `false_a_field` and `count_error` (finds minus true boxes,
        as a share of these, over all fields), each with `value`, `low` and `high`.
    """
    kept = [one.above(threshold) for one in matched]
    right = np.array([one.right.sum() for one in kept])
    finds = np.array([one.right.size for one in kept])
    true = np.array([one.n_true for one in kept])
    all_fields = np.arange(len(kept))

    def scores(rows: np.ndarray) -> dict[str, float]:
        n_true = max(true[rows].sum(), 1)
        return {
            "average_precision": average_precision([matched[row] for row in rows]),
            "recall": right[rows].sum() / n_true,
            "false_a_field": (finds - right)[rows].mean(),
            "count_error": (finds - true)[rows].sum() / n_true,
        }

    rng = np.random.default_rng(seed)
    drawn = [scores(rng.choice(all_fields, len(kept))) for _ in range(RESAMPLES)]
    return {
        name: {"value": float(value), **percentiles(np.array([one[name] for one in drawn]))}
        for name, value in scores(all_fields).items()
    }
