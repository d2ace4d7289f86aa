"""Where a new cell stands among calibration cells of a class: the conformal p-value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Ranks:
    """What the calibration cells of each class scored, the higher the stranger.

    Attributes
    ----------
    scores : sequence of numpy.ndarray
        For each of the K classes, in order, ascending.
    """

    scores: Sequence[np.ndarray]

    def share_as_high(self, values: np.ndarray, k: int) -> np.ndarray:
        """Return the share of the cells of class `k` that scored as high: (N,), above 0, at most 1.

        The new cell itself counts among them, so the fewest cells give the largest shares; where no
        cell calibrated it is 1.

        Parameters
        ----------
        values : numpy.ndarray, shape (N,)
        k : int
        """
        ranked = self.scores[k]
        as_high = len(ranked) - np.searchsorted(ranked, values, side="left")
        return (as_high + 1) / (len(ranked) + 1)

    def facts(self, classes: Sequence[str]) -> dict[str, list[float]]:
        """Return what `from_facts` takes: the scores of each class."""
        named = zip(classes, self.scores, strict=True)
        return {name: np.round(scores, 6).tolist() for name, scores in named}

    @classmethod
    def from_facts(
        cls, facts: Mapping[str, Sequence[float]] | None, classes: Sequence[str]
    ) -> Self | None:
        """Return what was stored with a model; None where it is of before there was any."""
        return None if facts is None else cls([np.array(facts[name], float) for name in classes])
