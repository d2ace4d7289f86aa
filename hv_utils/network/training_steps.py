"""The small parts of a training: optimiser, learning rate, the images and the row of an epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from hv_utils.scores.calibration import log_loss

if TYPE_CHECKING:
    import keras

WARM_UP = 0.1  # share of the steps in which the learning rate climbs to its peak


def compile_model(model: keras.Model, learning_rate: object) -> None:
    """Compile for Adam and the cross-entropy of probabilities against class positions."""
    import keras

    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU, compiling takes longer than it saves
    )


def cosine_schedule(peak: float, steps: int) -> object:
    """Return a learning rate that climbs from 0 to `peak` and falls to 0 along a cosine."""
    import keras

    warm_up = max(1, int(WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=peak, warmup_steps=warm_up
    )


def images_of_epoch(total: int, count: int, epoch: int, seed: int) -> np.ndarray:
    """Return the positions of the images of one epoch: consecutive parts of shuffled passes."""
    wanted = np.arange((epoch - 1) * count, epoch * count)
    passes = range(wanted[0] // total, wanted[-1] // total + 1)
    orders = [np.random.default_rng((seed, number)).permutation(total) for number in passes]
    return np.concatenate(orders)[wanted - passes[0] * total]


def judge(probs: np.ndarray, y_val: np.ndarray) -> dict[str, float]:
    """Score validation images.

    Parameters
    ----------
    probs : numpy.ndarray
        Shape (N, K), predicted probabilities.
    y_val : numpy.ndarray
        Shape (N,), int, true classes.

    Returns
    -------
    dict of str to float
        `val_loss`, `val_accuracy`, `val_macro_f1`.
    """
    from sklearn.metrics import f1_score

    predicted = probs.argmax(axis=1)
    labels = range(probs.shape[1])
    macro_f1 = f1_score(y_val, predicted, labels=labels, average="macro", zero_division=0)
    return {
        "val_loss": log_loss(y_val, probs),
        "val_accuracy": float((predicted == y_val).mean()),
        "val_macro_f1": float(macro_f1),
    }


def history_row(
    phase: str, epoch: int, result: dict, judged: dict[str, float], start: float
) -> dict:
    """Return one row of the history.

    Parameters
    ----------
    phase : str
    epoch : int
    result : dict
        `loss` and `accuracy` of the epoch, each a list of one, from Keras.
    judged : dict
        From `judge`.
    start : float
        `time.monotonic()` when the epoch began.
    """
    return {
        "phase": phase,
        "epoch": epoch,
        "loss": float(result["loss"][0]),
        "accuracy": float(result["accuracy"][0]),
        **judged,
        "seconds": time.monotonic() - start,
        "best": False,
    }


def rank(row: dict) -> tuple[float, float]:
    """Return what the best epoch is chosen by: validation macro-F1, then validation loss."""
    return row["val_macro_f1"], -row["val_loss"]


def print_row(row: dict, epochs: int) -> None:
    """Print an epoch as one line, for terminals and log files."""
    print(
        f"{row['phase']} {row['epoch']}/{epochs}: loss {row['loss']:.3f}, "
        f"accuracy {row['accuracy']:.3f}; validation loss {row['val_loss']:.3f}, "
        f"accuracy {row['val_accuracy']:.3f}, macro-F1 {row['val_macro_f1']:.3f} "
        f"({row['seconds']:.0f} s)",
        flush=True,
    )
