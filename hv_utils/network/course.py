"""The course of a training: its steps, the order of its images, and what becomes of each epoch.

Importing this module loads TensorFlow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from hv_utils.network.checkpoints import load_state, save_state
from hv_utils.network.preprocessing import class_weights
from hv_utils.network.settings import FineTuning, HeadTraining
from hv_utils.scores.calibration import log_loss

WARM_UP = 0.1  # share of the steps in which the learning rate climbs to its peak


def compile_model(model: keras.Model, learning_rate: object) -> None:
    """Compile for Adam and the cross-entropy of probabilities against class positions."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU, compiling takes longer than it saves
    )


def cosine_schedule(peak: float, steps: int) -> object:
    """Return a learning rate that climbs from 0 to `peak` and falls to 0 along a cosine."""
    warm_up = max(1, int(WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=peak, warmup_steps=warm_up
    )


def image_orders(total: int, count: int, epochs: int, seed: int) -> np.ndarray:
    """Return the positions of the images of each epoch, (epochs, count): parts of shuffled passes.

    Of `total` images 0, or more than there are, takes all.
    """
    count = min(count or total, total)
    passes = range(-(-epochs * count // total))
    orders = [np.random.default_rng((seed, number)).permutation(total) for number in passes]
    return np.concatenate([*orders, np.zeros(0, int)])[: epochs * count].reshape(epochs, count)


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


class Course(keras.callbacks.Callback):
    """Judges each epoch, keeps the best weights, stops in time, and goes on after a kill.

    With Keras's own callbacks a resumed training is not an uninterrupted one: `BackupAndRestore`
    leaves out dropout's seeds and the history and writes its two files one after the other, and
    `EarlyStopping` forgets the best epoch. And none ranks by two numbers.

    Parameters
    ----------
    settings : HeadTraining or FineTuning
    judged : callable
        Gives `judge(...)` of the model as it is.
    rank : callable
        From a row of the history to what the best epoch has most of; of equals the first is kept.
    file : Path, optional
        Where the state after each epoch is kept.
    """

    def __init__(
        self,
        settings: HeadTraining | FineTuning,
        judged: Callable[[], dict[str, float]],
        *,
        rank: Callable[[dict], Any],
        file: Path | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.judged, self.rank, self.file = settings, judged, rank, file

    def begin(self, model: keras.Model) -> int:
        """Take up a compiled model, or its state in the file; return the epochs that it has run."""
        self.set_model(model)
        model.optimizer.build(model.trainable_variables)
        self.variables = [*model.variables, *model.optimizer.variables]
        if state := load_state(self.file, self.variables):
            self.rows, self.best = state
            print(f"{self.settings.phase} goes on after epoch {self.rows[-1]['epoch']}", flush=True)
        else:  # epoch 0 is the model as it comes
            self.rows, self.best = [{"epoch": 0, **self.judged()}], model.get_weights()
        return self.rows[-1]["epoch"]

    @property
    def best_epoch(self) -> int:
        """The epoch that ranks first."""
        return max(self.rows, key=self.rank)["epoch"]

    @property
    def finished(self) -> bool:
        """Whether patience has run out."""
        return self.rows[-1]["epoch"] - self.best_epoch >= self.settings.patience

    def run(
        self, data: object, labels: np.ndarray, *, steps: int, callbacks: Sequence = ()
    ) -> None:
        """Fit on the batches of the epochs to come, `steps` each; `labels` are all there are."""
        self.model.fit(
            data,
            initial_epoch=self.rows[-1]["epoch"],
            epochs=self.settings.epochs,
            steps_per_epoch=steps,
            class_weight=class_weights(labels) if self.settings.class_weight else None,
            callbacks=callbacks or [self],
            shuffle=False,  # the batches come in their order
            verbose=0,
        )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Look at the clock."""
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Judge the epoch, and keep what it made."""
        row = {"phase": self.settings.phase, "epoch": epoch + 1}
        row |= {name: float(logs[name]) for name in ("loss", "accuracy")}
        row |= {"learning_rate": float(self.model.optimizer.learning_rate), **self.judged()}
        self.rows.append({**row, "seconds": time.monotonic() - self.started})
        if self.best_epoch == epoch + 1:
            self.best = self.model.get_weights()
        save_state(self.file, self.variables, self.rows, self.best)
        self.model.stop_training = self.finished

    def finish(self) -> pd.DataFrame:
        """Give the model its best weights, and return the history without epoch 0."""
        self.model.set_weights(self.best)
        best = self.best_epoch
        return pd.DataFrame([{**row, "best": row["epoch"] == best} for row in self.rows[1:]])


def print_row(row: dict, epochs: int) -> None:
    """Print an epoch as one line, for terminals and log files."""
    print(
        f"{row['phase']} {row['epoch']}/{epochs}: loss {row['loss']:.3f}, "
        f"accuracy {row['accuracy']:.3f}; validation loss {row['val_loss']:.3f}, "
        f"accuracy {row['val_accuracy']:.3f}, macro-F1 {row['val_macro_f1']:.3f} "
        f"({row['seconds']:.0f} s)",
        flush=True,
    )
