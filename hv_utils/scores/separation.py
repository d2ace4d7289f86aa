"""How well a score parts what is known from what is not, as the field's benchmarks ask.

AUROC and the false positives at 95 % (Hendrycks and Gimpel, ICLR 2017; OpenMIBOOD: Gutbrod et al.,
CVPR 2025), with intervals of the cluster bootstrap on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.scores.bootstrap import cluster_codes, percentiles, resample

PASSED = 0.95  # of what is known


def separation(
    known: np.ndarray,
    strange: np.ndarray,
    *,
    known_cells: Sequence[Any] | None = None,
    strange_cells: Sequence[Any] | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """Compare the scores of what is known with those of what is not.

    Parameters
    ----------
    known, strange : numpy.ndarray
        Shapes (N,) and (M,): higher is stranger; infinite is allowed, NaN is not.
    known_cells, strange_cells : sequence, optional
        What belongs together, N and M; by default each by itself.
    n_resamples, level, seed
        See `bootstrap.resample` and `bootstrap.percentiles`.

    Returns
    -------
    dict
        `auroc`, the share of pairs in which the strange one scores higher, ties by half, and
        `fpr95`, the share of the strange that pass where 95 % of the known do: each with `value`,
        `low`, `high`.

    Raises
    ------
    HematoVisionError
        Where one side is empty or a score is no number.
    """
    known, strange = np.asarray(known, float), np.asarray(strange, float)
    if not len(known) or not len(strange) or np.isnan(known).any() or np.isnan(strange).any():
        raise HematoVisionError(
            f"expected scores on both sides, but got {len(known)} of what is known and "
            f"{len(strange)} of what is not, or some that are no numbers"
        )
    of_known, n_known = cluster_codes([*range(len(known))] if known_cells is None else known_cells)
    of_strange, n_strange = cluster_codes(
        [*range(len(strange))] if strange_cells is None else strange_cells
    )
    order = np.argsort(known, kind="stable")
    pairs = (strange[:, None] > known) + 0.5 * (strange[:, None] == known)
    by_cells = np.zeros((n_strange, n_known))
    np.add.at(by_cells, (of_strange[:, None], of_known[None]), pairs)
    sizes = np.bincount(of_strange, minlength=n_strange), np.bincount(of_known, minlength=n_known)

    def scores(of_drawn: np.ndarray, known_drawn: np.ndarray) -> dict[str, np.ndarray]:
        total = (of_drawn @ sizes[0]) * (known_drawn @ sizes[1])
        weights = np.cumsum(known_drawn[:, of_known[order]], axis=1)
        at = (weights >= PASSED * weights[:, -1:]).argmax(axis=1)
        passing = strange[None] <= known[order][at][:, None]
        strange_weights = of_drawn[:, of_strange]
        return {
            "auroc": np.einsum("rs,sk,rk->r", of_drawn, by_cells, known_drawn, optimize=True)
            / total,
            "fpr95": (strange_weights * passing).sum(axis=1) / strange_weights.sum(axis=1),
        }

    value = scores(np.ones((1, n_strange)), np.ones((1, n_known)))
    drawn = resample(
        scores,
        n_strange,
        n_known,
        width=len(known) + len(strange),
        n_resamples=n_resamples,
        seed=seed,
    )
    return {
        name: {"value": float(value[name][0]), **percentiles(drawn[name], level=level)}
        for name in value
    }
