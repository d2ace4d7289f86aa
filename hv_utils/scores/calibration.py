"""Do the probabilities mean what they say? Reliability, calibration error, temperature.

A classifier is calibrated when, of the images it judges with confidence p, the share p is right.
Temperature scaling divides the logits by one number fitted on validation images; it changes no
verdict (Guo et al., 2017).
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from hv_utils.ground.errors import HematoVisionError

_TINY = 1e-7  # float32 softmax can give an exact 0, whose logarithm is not finite
TEMPERATURES = (0.05, 20.0)


def reliability_table(
    labels: np.ndarray, pred_probs: np.ndarray, *, n_bins: int = 10
) -> pd.DataFrame:
    """Compare confidence with the share of right verdicts, bin by bin.

    Parameters
    ----------
    labels : array, shape (N,), int
        Position of the true class, 0 … K-1.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities.
    n_bins : int
        Number of bins of equal width over 0…1.

    Returns
    -------
    DataFrame
        One row a bin: `low`, `high`, `n`, `confidence` (mean probability of the verdict) and
        `accuracy` (share right), both NaN in an empty bin. A confidence on an edge falls in the
        lower bin, as in Guo et al.
    """
    if n_bins < 1 or len(labels) == 0:
        raise HematoVisionError(
            f"expected images and at least one bin, got {len(labels)} images and {n_bins} bins: "
            "check the split that was selected"
        )
    confidence = pred_probs.max(1)
    right = pred_probs.argmax(1) == labels
    edges = np.linspace(0, 1, n_bins + 1)
    at = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, n_bins - 1)
    n = np.bincount(at, minlength=n_bins)
    whole = np.where(n > 0, n, np.nan)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "n": n,
            "confidence": np.bincount(at, confidence, n_bins) / whole,
            "accuracy": np.bincount(at, right, n_bins) / whole,
        }
    )


def expected_calibration_error(
    labels: np.ndarray, pred_probs: np.ndarray, *, n_bins: int = 10
) -> float:
    """Return the mean gap between confidence and accuracy, bins weighted by their images, 0…1."""
    table = reliability_table(labels, pred_probs, n_bins=n_bins)
    gaps = (table["confidence"] - table["accuracy"]).abs()
    return float((gaps * table["n"]).sum() / table["n"].sum())


def image_losses(labels: np.ndarray, pred_probs: np.ndarray) -> np.ndarray:
    """Return -log(probability of the true class) of each image, in nats, 0 or above.

    Parameters
    ----------
    labels : array, shape (N,), int
        Position of the true class.
    pred_probs : array, shape (..., N, K), float 0…1

    Returns
    -------
    array, shape (..., N), float
    """
    chosen = pred_probs[..., np.arange(len(labels)), labels]
    return np.abs(np.log(np.clip(chosen, _TINY, 1)))


def log_loss(labels: np.ndarray, pred_probs: np.ndarray) -> float:
    """Return the mean of `image_losses`."""
    return float(image_losses(labels, pred_probs).mean())


def apply_temperature(pred_probs: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits behind the probabilities by a temperature.

    Parameters
    ----------
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities.
    temperature : float
        Above 0; above 1 softens, below 1 sharpens.

    Returns
    -------
    array, shape (N, K), float64
        Rows sum to 1; the order within each row stays.
    """
    if not temperature > 0:
        raise HematoVisionError(
            f"expected a temperature above 0, got {temperature}: fit it with fit_temperature"
        )
    logits = np.log(np.clip(np.asarray(pred_probs, float), _TINY, 1))
    return softmax(logits / temperature, axis=1)


def fit_temperature(labels: np.ndarray, pred_probs: np.ndarray) -> float:
    """Find the temperature that gives the least log loss.

    Parameters
    ----------
    labels : array, shape (N,), int
        Position of the true class. Validation images: the test split must choose nothing.
    pred_probs : array, shape (N, K), float 0…1
        Predicted probabilities.

    Returns
    -------
    float
        Between 0.05 and 20. Where every verdict is right the loss falls without end, and the
        lower bound comes back.
    """
    if len(labels) == 0:
        raise HematoVisionError(
            "expected validation images to fit the temperature on, got none: "
            "hold some out with splits.hold_out"
        )
    found = minimize_scalar(
        lambda log_t: log_loss(labels, apply_temperature(pred_probs, np.exp(log_t))),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def calibration_report(
    val_labels: np.ndarray,
    val_probs: np.ndarray,
    labels: np.ndarray,
    pred_probs: np.ndarray,
    *,
    n_bins: int = 10,
) -> dict[str, Any]:
    """Fit the temperature on validation and measure calibration on the test split.

    Parameters
    ----------
    val_labels, labels : array, shape (M,) and (N,), int
        True classes of the validation and of the test images.
    val_probs, pred_probs : array, shape (M, K) and (N, K), float 0…1
        Predicted probabilities.
    n_bins : int
        Bins of the calibration error.

    Returns
    -------
    dict
        `temperature`, `fitted_on`, `n_fit`, `n_bins`, and on the test split `ece`, `ece_after`,
        `log_loss`, `log_loss_after`.
    """
    temperature = fit_temperature(val_labels, val_probs)
    cooled = apply_temperature(pred_probs, temperature)
    return {
        "temperature": temperature,
        "fitted_on": "val",
        "n_fit": len(val_labels),
        "n_bins": n_bins,
        "ece": expected_calibration_error(labels, pred_probs, n_bins=n_bins),
        "ece_after": expected_calibration_error(labels, cooled, n_bins=n_bins),
        "log_loss": log_loss(labels, pred_probs),
        "log_loss_after": log_loss(labels, cooled),
    }
