"""Two phases of transfer learning: the head on frozen features, then fine-tuning."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hv_utils.errors import HematoVisionError
from hv_utils.model import (
    FEATURE_LAYER,
    extract_features,
    input_size,
    predict_probs,
    print_progress,
)
from hv_utils.preprocessing import batches, class_weights, encode_labels, load_images
from hv_utils.runs import atomic_path, dump_json, write_text

if TYPE_CHECKING:
    import keras

WARM_UP = 0.1  # share of the steps in which the learning rate climbs to its peak
EPSILON = 1e-7


def train_head(
    model: keras.Model,
    train: pd.DataFrame,
    val: pd.DataFrame,
    *,
    classes: Sequence[str],
    epochs: int = 40,
    learning_rate: float = 1e-3,
    batch_size: int = 32,
    class_weight: bool = True,
    patience: int = 8,
    images: int = 0,
    calibration_images: int | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Phase 1: train the head on the features of the frozen backbone.

    The features of each image are computed once and kept, so an epoch takes a fraction of a
    second. The epoch with the lowest validation loss is kept.

    Parameters
    ----------
    model : keras.Model
        From `build_model`; changed in place.
    train, val : pandas.DataFrame
        Image tables with columns `path` and `label`.
    classes : sequence of str
        The K classes in the order of the model's output.
    epochs, patience : int
        Passes at most, and passes without a lower validation loss before stopping.
    learning_rate : float
        Of Adam.
    batch_size : int
    class_weight : bool
        Whether the loss weighs rare classes up, see `preprocessing.class_weights`.
    images : int
        Take only so many training images, at random; 0 takes all.
    calibration_images : int, optional
        See `calibrate_batch_norm`; by default 256 where the start weights are `lite0`, else 0.
    checkpoint : str or Path, optional
        Folder. With it an interrupted training finds this phase done when called again.
    seed : int

    Returns
    -------
    pandas.DataFrame
        History, one row an epoch: `phase` ("head"), `epoch`, `loss`, `accuracy`, `val_loss`,
        `val_accuracy`, `val_macro_f1`, `seconds`, `best` (the epoch that was kept).
    """
    store = _Checkpoint(checkpoint, "head", {"seed": seed, "epochs": epochs, "lr": learning_rate})
    if store.finished(model):
        return store.history()
    train = _sample(train, images, seed)
    y_train, y_val = (encode_labels(table["label"], classes) for table in (train, val))
    if calibration_images is None:
        calibration_images = 256 if getattr(model, "start_weights", "") == "lite0" else 0
    if calibration_images:
        few = _sample(train, calibration_images, seed)["path"]
        calibrate_batch_norm(model, load_images(few, size=input_size(model)))
    x_train, x_val = (
        extract_features(model, list(table["path"]), progress=print_progress(f"features, {name}:"))
        for name, table in (("train", train), ("val", val))
    )
    head = _head(model)
    _compile(head, learning_rate)
    weights = class_weights(y_train) if class_weight else None
    rng = np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        start = time.monotonic()
        order = rng.permutation(len(x_train))
        result = head.fit(
            x_train[order],
            y_train[order],
            batch_size=batch_size,
            class_weight=weights,
            shuffle=False,
            verbose=0,
        )
        probs = head.predict(x_val, batch_size=512, verbose=0)
        row = _row("head", epoch, result, y_val, probs, start)
        if store.add(row, head, better=lambda new, old: new["val_loss"] < old["val_loss"]):
            continue
        if store.epochs_since_best() >= patience:
            break
    store.restore_best(head)
    store.finish(model)
    _print_row("head", store.history().query("best").iloc[0], epochs)
    return store.history()
