"""Two phases of transfer learning: the head on frozen features, then fine-tuning."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hv_utils.data.splits import check_no_leak
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.predictions import label_index
from hv_utils.ground.progress import print_progress
from hv_utils.network.checkpoints import (
    Kept,
    describe_layers,
    fingerprint_training,
    load_state,
    save_state,
)
from hv_utils.network.model import (
    FEATURE_LAYER,
    extract_features,
    input_size,
    predict_probs,
)
from hv_utils.network.preprocessing import batches, class_weights, load_images
from hv_utils.network.training_steps import (
    compile_model,
    cosine_schedule,
    history_row,
    images_of_epoch,
    judge,
    print_row,
    rank,
)
from hv_utils.network.weights import calibrate_batch_norm

if TYPE_CHECKING:
    import keras

BATCH_NORM_MOMENTUM = 0.9


def train_head(
    model: keras.Model,
    train: pd.DataFrame,
    val: pd.DataFrame,
    *,
    classes: Sequence[str],
    epochs: int = 40,
    learning_rate: float = 3e-4,
    batch_size: int = 32,
    class_weight: bool = True,
    patience: int = 8,
    max_images: int = 0,
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
    max_images : int
        Take at most so many training images, at random; 0 takes all.
    calibration_images : int, optional
        See `calibrate_batch_norm`; by default 256 where the start weights are `lite0`, else 0.
    checkpoint : str or Path, optional
        Folder. With it a training that is called again after an interruption skips this phase.
    seed : int

    Returns
    -------
    pandas.DataFrame
        History, one row an epoch: `phase` ("head"), `epoch`, `loss`, `accuracy`, `val_loss`,
        `val_accuracy`, `val_macro_f1`, `seconds`, `best` (True for the epoch that was kept).
    """
    refuse_leak(train, val)
    train = _sample(train, max_images, seed)
    settings = {
        "classes": list(classes),
        "epochs": epochs,
        "lr": learning_rate,
        "batch": batch_size,
        "weigh": class_weight,
        "patience": patience,
        "calibration": calibration_images,
        "seed": seed,
    }
    fingerprint = fingerprint_training(model, settings, pd.concat([train, val]))
    if rows := load_state(checkpoint, "head", model, fingerprint=fingerprint):
        print("head: trained before the interruption", flush=True)
        return pd.DataFrame(rows)
    y_train, y_val = (label_index(table["label"], classes) for table in (train, val))
    if calibration_images is None:
        calibration_images = 256 if getattr(model, "start_weights", "") == "lite0" else 0
    if calibration_images:
        few = _sample(train, calibration_images, seed)["path"]
        calibrate_batch_norm(model, load_images(few, size=input_size(model)))
    x_train, x_val = (
        extract_features(model, list(table["path"]), progress=print_progress(f"features {name}"))
        for name, table in (("train", train), ("val", val))
    )
    rows = _fit_head(
        _head(model),
        (x_train, y_train),
        (x_val, y_val),
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        weights=class_weights(y_train) if class_weight else None,
        patience=patience,
    )
    save_state(checkpoint, "head", model, rows=rows, fingerprint=fingerprint)
    return pd.DataFrame(rows)


def _fit_head(
    head: keras.Model,
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    weights: dict[int, float] | None,
    patience: int,
) -> list[dict]:
    import keras

    compile_model(head, learning_rate)
    rows: list[dict] = []
    best, kept = None, head.get_weights()
    for epoch in range(1, epochs + 1):
        start = time.monotonic()
        result = head.fit(*train, batch_size=batch_size, class_weight=weights, verbose=0)
        probs = keras.ops.convert_to_numpy(head(val[0], training=False))
        rows.append(history_row("head", epoch, result.history, judge(probs, val[1]), start))
        if best is None or rows[-1]["val_loss"] < best["val_loss"]:
            best, kept = rows[-1], head.get_weights()
        elif epoch - best["epoch"] >= patience:
            break
    if best is not None:
        head.set_weights(kept)
        best["best"] = True
        print_row(best, epochs)
    return rows


def fine_tune(
    model: keras.Model,
    train: pd.DataFrame,
    val: pd.DataFrame,
    *,
    classes: Sequence[str],
    from_block: str = "block6a",
    epochs: int = 5,
    learning_rate: float = 1e-3,
    batch_size: int = 32,
    images_per_epoch: int = 0,
    class_weight: bool = True,
    augment: keras.Model | None = None,
    patience: int = 3,
    norm_images: int = 0,
    checkpoint: str | Path | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Phase 2: train the upper blocks of the backbone, or all of it, together with the head.

    Batch normalisations train along from `from_block` on, with a momentum of 0.9: Keras's 0.99 lags
    far behind in a run of a few hundred steps, and the validation score then looks broken. The
    learning rate climbs to its peak in the first tenth of the steps and falls to zero along a
    cosine. The epoch with the highest validation macro-F1 is kept (of equals, that with the lower
    validation loss); where none is better than the head alone, the model stays as it was.

    Parameters
    ----------
    model : keras.Model
        After `train_head`; changed in place.
    train, val, classes, batch_size, class_weight, seed
        As in `train_head`.
    from_block : str
        First block to train: `stem` (everything), `block2a` … `block7a`, `top`.
    epochs, patience : int
        Passes, and passes without a better validation macro-F1 before stopping.
    learning_rate : float
        Peak, of Adam.
    images_per_epoch : int
        Images of one pass; 0 takes all. No image is seen twice before all were seen once.
    augment : keras.Model, optional
        `preprocessing.augmentation_layers(...)`.
    norm_images : int
        After each pass, measure the statistics of the batch normalisations that train anew on so
        many training images as they are (`weights.calibrate_batch_norm`): those that were gathered
        on the way are of augmented images and of the last few batches. 0 keeps them.
    checkpoint : str or Path, optional
        Folder for the state after each epoch, from which a call after an interruption goes on.

    Returns
    -------
    pandas.DataFrame
        History as from `train_head`, with `phase` "fine-tuning" and the column `learning_rate`;
        `best` is nowhere True where no epoch was better than the head alone.
    """
    refuse_leak(train, val)
    settings = {
        "classes": list(classes),
        "from": from_block,
        "epochs": epochs,
        "lr": learning_rate,
        "batch": batch_size,
        "images": images_per_epoch,
        "weigh": class_weight,
        "augment": describe_layers(augment) if augment else None,
        "norm": norm_images,
        "patience": patience,
        "seed": seed,
    }
    fingerprint = fingerprint_training(model, settings, pd.concat([train, val]))
    y_val = label_index(val["label"], classes)
    y_train = label_index(train["label"], classes)
    weights = class_weights(y_train) if class_weight else None
    count = min(images_per_epoch or len(train), len(train))
    steps = -(-count // batch_size)

    def judged() -> dict[str, float]:
        return judge(predict_probs(model, list(val["path"]), batch_size=batch_size), y_val)

    kept = Kept(model, checkpoint, fingerprint, rank(judged()))
    unfreeze(model, from_block)
    plain = train["path"].sample(min(norm_images, len(train)), random_state=seed)
    plain_images = load_images(plain, size=input_size(model))
    compile_model(model, cosine_schedule(learning_rate, steps * epochs))
    model.optimizer.iterations.assign(len(kept.rows) * steps)
    for epoch in range(len(kept.rows) + 1, epochs + 1):
        if epoch - 1 - kept.epoch >= patience:
            break
        start = time.monotonic()
        chosen = images_of_epoch(len(train), count, epoch, seed)
        data = batches(
            train["path"].to_numpy()[chosen],
            y_train[chosen],
            size=input_size(model),
            batch_size=batch_size,
            augment=augment,
        )
        result = model.fit(data, class_weight=weights, shuffle=False, verbose=0)
        rate = float(model.optimizer.learning_rate)
        if norm_images:
            calibrate_batch_norm(model, plain_images, seed=seed)
        row = history_row("fine-tuning", epoch, result.history, judged(), start)
        kept.add({**row, "learning_rate": rate})
        print_row(row, epochs)
    return kept.finish()


def refuse_leak(train: pd.DataFrame, val: pd.DataFrame) -> None:
    """Refuse a source photo that is learnt from and validated on; see `splits.check_no_leak`.

    Raises
    ------
    LeakError
        Naming the photo.
    """
    check_no_leak(pd.concat([train.assign(split="train"), val.assign(split="val")]))


def unfreeze(model: keras.Model, from_block: str) -> None:
    """Make a model trainable from a block on, and not below it; see `fine_tune`.

    Parameters
    ----------
    model : keras.Model
        Changed in place.
    from_block : str
        `stem` for everything, a block's name such as `block6a`, or `top`.

    Raises
    ------
    HematoVisionError
        Where the model has no such block.
    """
    import keras

    prefixes = [layer.name.split("_")[0] for layer in model.layers]
    if from_block not in prefixes:
        blocks = [p for p in dict.fromkeys(prefixes) if p in ("stem", "top") or p[:5] == "block"]
        raise HematoVisionError(
            f"expected fine_tune_from to be one of {', '.join(blocks)}, but it is {from_block!r}: "
            "check the parameter"
        )
    first = prefixes.index(from_block)
    model.trainable = True
    for position, layer in enumerate(model.layers):
        layer.trainable = position >= first
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM


def _head(model: keras.Model) -> keras.Model:
    """Return the layers above the pooled features as a model of their own, weights shared."""
    import keras

    position = model.layers.index(model.get_layer(FEATURE_LAYER))
    inputs = keras.Input(model.layers[position].output.shape[1:])
    x = inputs
    for layer in model.layers[position + 1 :]:
        x = layer(x)
    return keras.Model(inputs, x)


def _sample(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    if not count or count >= len(table):
        return table
    return table.sample(count, random_state=seed)
