"""Below which confidence a classifier should rather say "not sure"."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from hv_utils.ground.errors import HematoVisionError

LEAST_ANSWERED = 0.5


@dataclass(frozen=True)
class Threshold:
    """A threshold on the largest probability, and what it does on the images that chose it.

    Attributes
    ----------
    unsure_below : float
        0 to 1.
    coverage : float
        Share of the images that are answered.
    accuracy : float
        Share of the answered that are right.
    target : float
        The accuracy that was asked for.
    reached : bool
        Whether `accuracy` is at least `target` on enough images to say so.
    """

    unsure_below: float
    coverage: float
    accuracy: float
    target: float
    reached: bool

    def facts(self) -> dict:
        """Return the attributes as a dict."""
        return asdict(self)


def choose_threshold(
    labels: np.ndarray,
    pred_probs: np.ndarray,
    *,
    target: float = 0.95,
    least_answered: float = LEAST_ANSWERED,
    min_answered: int = 20,
) -> Threshold:
    """Choose the lowest threshold at which the answered images are right often enough.

    The rule of selective classification (Geifman and El-Yaniv, 2017): answer as many images as the
    target accuracy allows. A model that is unsure of most images helps nobody, so the surer share
    is answered even where the target cannot be had with it.

    Parameters
    ----------
    labels : numpy.ndarray
        Shape (N,), int. Validation images: the test split must choose nothing.
    pred_probs : numpy.ndarray
        Shape (N, K), calibrated probabilities.
    target : float
        Accuracy on the answered images, 0 to 1.
    least_answered : float
        Share of the images to answer at least, 0 to 1.
    min_answered : int
        Fewer answered images than this (or N, where that is less) prove nothing.

    Returns
    -------
    Threshold

    Raises
    ------
    HematoVisionError
        Where there are no images, or `target` or `least_answered` is not between 0 and 1.
    """
    if len(labels) == 0 or not 0 < target <= 1:
        raise HematoVisionError(
            f"expected validation images and a target accuracy in (0, 1], but got {len(labels)} "
            f"images and {target}: hold some images out with splits.hold_out"
        )
    if not 0 <= least_answered <= 1:
        raise HematoVisionError(
            f"expected a share of images to answer between 0 and 1, but got {least_answered}: "
            "0.8 answers four of five at least"
        )
    confidence = np.asarray(pred_probs, np.float64).max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    right = (np.asarray(pred_probs).argmax(axis=1) == labels)[order]
    answered = np.arange(1, len(right) + 1)
    accuracy = np.cumsum(right) / answered
    # A threshold answers all images of equal confidence or none of them.
    possible = np.append(ranked[1:] < ranked[:-1], True)
    proven = answered >= min(min_answered, len(right))
    enough = possible & (answered >= least_answered * len(right))
    reaching = np.flatnonzero(enough & proven & (accuracy >= target))
    last = int(reaching[-1] if len(reaching) else np.flatnonzero(enough)[0])
    everything = last == len(right) - 1
    return Threshold(
        unsure_below=0.0 if everything else float((ranked[last] + ranked[last + 1]) / 2),
        coverage=(last + 1) / len(right),
        accuracy=float(accuracy[last]),
        target=target,
        reached=bool(len(reaching)),
    )
