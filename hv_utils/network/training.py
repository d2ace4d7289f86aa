"""Two phases of transfer learning: the head on frozen features, then fine-tuning.

Importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras.callbacks import LambdaCallback

from hv_utils.data.splits import check_no_leak
from hv_utils.ground.predictions import label_index
from hv_utils.ground.progress import print_progress
from hv_utils.network.checkpoints import checkpoint_file, load_state, save_state
from hv_utils.network.course import (
    Course,
    compile_model,
    cosine_schedule,
    image_orders,
    judge,
    print_row,
)
from hv_utils.network.model import (
    FEATURE_LAYER,
    extract_features,
    first_layer_of,
    input_size,
    part_below,
    predict_probs,
)
from hv_utils.network.preprocessing import (
    augmentation_layers,
    batches,
    load_images,
    positions,
)
from hv_utils.network.settings import BATCH_NORM_MOMENTUM, FineTuning, HeadTraining
from hv_utils.network.weights import CALIBRATION_IMAGES, calibrate_batch_norm

KEPT_BYTES = 2**29  # of what images are below the first block that learns; more is not kept


def train_head(
    model: keras.Model,
    train: pd.DataFrame,
    val: pd.DataFrame,
    settings: HeadTraining,
    *,
    classes: Sequence[str],
    checkpoint: str | Path | None = None,
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
    settings : HeadTraining
    classes : sequence of str
        The K classes in the order of the model's output.
    checkpoint : str or Path, optional
        Folder. With it a training that is called again after an interruption skips this phase.

    Returns
    -------
    pandas.DataFrame
        History, one row an epoch: `phase` ("head"), `epoch`, `loss`, `accuracy`, `learning_rate`,
        `val_loss`, `val_accuracy`, `val_macro_f1`, `seconds`, `best` (True for the epoch that was
        kept).

    Raises
    ------
    LeakError
        Where a source photo is learnt from and validated on.
    """
    file = checkpoint_file(checkpoint, settings, model, _apart(train, val), classes)
    if state := load_state(file, model.variables):
        print("head: trained before the interruption", flush=True)
        return pd.DataFrame(state[0])
    y_train, y_val = (label_index(table["label"], classes) for table in (train, val))
    _calibrate(model, train, settings)
    x_train, x_val = (
        extract_features(model, list(table["path"]), progress=print_progress(f"features {name}"))
        for name, table in (("train", train), ("val", val))
    )
    head = _head(model)
    compile_model(head, settings.learning_rate)
    course = Course(
        settings,
        lambda: judge(np.asarray(head(x_val, training=False)), y_val),
        rank=lambda row: (row["epoch"] > 0, -row["val_loss"]),  # an untrained head is no choice
    )
    course.begin(head)
    orders = image_orders(len(train), 0, settings.epochs, settings.seed)
    data = _gathered(x_train, y_train, orders, settings.batch_size)
    course.run(data, y_train, steps=-(-len(train) // settings.batch_size))
    history = course.finish()
    print_row(course.rows[course.best_epoch], settings.epochs)
    save_state(file, model.variables, history.to_dict("records"))
    return history


def _calibrate(model: keras.Model, train: pd.DataFrame, settings: HeadTraining) -> None:
    """Measure the batch norms on some training images where the start weights need it."""
    count = settings.calibration_images
    if count is None:
        count = CALIBRATION_IMAGES.get(getattr(model, "start_weights", ""), 0)
    if count:
        few = _some(train, count, settings.seed)["path"]
        calibrate_batch_norm(model, load_images(few, size=input_size(model)))


def fine_tune(
    model: keras.Model,
    train: pd.DataFrame,
    val: pd.DataFrame,
    settings: FineTuning,
    *,
    classes: Sequence[str],
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """Phase 2: train the upper blocks of the backbone, or all of it, together with the head.

    What lies below `from_block` computes as it does in prediction, its dropout at rest. Batch
    normalisations train along from `from_block` on, with a momentum of 0.9: Keras's 0.99 lags far
    behind in a run of a few hundred steps, and the validation score then looks broken. The learning
    rate climbs to its peak in the first tenth of the steps and falls to zero along a cosine. The
    epoch with the highest validation macro-F1 is kept (of equals, that with the lower validation
    loss); where none is better than the head alone, the model stays as it was.

    Parameters
    ----------
    model : keras.Model
        After `train_head`; changed in place.
    train, val, classes
        As in `train_head`.
    settings : FineTuning
    checkpoint : str or Path, optional
        Folder for the state after each epoch. A call after an interruption goes on from there, and
        ends where an uninterrupted one ends: the state holds weights, optimiser and seeds, and the
        order of the images and their augmentation depend on nothing but `seed` and the step.

    Returns
    -------
    pandas.DataFrame
        History as from `train_head`, with `phase` "fine-tuning"; `best` is nowhere True where no
        epoch was better than the head alone.
    """
    file = checkpoint_file(checkpoint, settings, model, _apart(train, val), classes)
    y_train, y_val = (label_index(table["label"], classes) for table in (train, val))
    size, batch_size, epochs = input_size(model), settings.batch_size, settings.epochs
    orders = image_orders(len(train), settings.images_per_epoch, epochs, settings.seed)
    steps = -(-orders.shape[1] // batch_size)
    unfreeze(model, settings.from_block)
    # Norms that are measured anew change what lies below: then the whole network is run.
    parts = None if settings.norm_images else part_below(model, settings.from_block)
    below, learning = parts or (None, model)
    compile_model(learning, cosine_schedule(settings.learning_rate, steps * epochs))
    keep = partial(_below, parts, size=size, batch_size=batch_size)
    validation_probs = partial(predict_probs, model, list(val["path"]), batch_size=batch_size)
    if (kept := keep(list(val["path"]))) is not None:
        validation_probs = partial(_probs_above, learning, kept, batch_size)
    course = Course(
        settings,
        lambda: judge(validation_probs(), y_val),
        rank=lambda row: (row["val_macro_f1"], -row["val_loss"]),
        file=file,
    )
    done = course.begin(learning)
    callbacks = [course, LambdaCallback(on_epoch_end=lambda *_: print_row(course.rows[-1], epochs))]
    if settings.norm_images:
        plain = load_images(_some(train, settings.norm_images, settings.seed)["path"], size=size)
        measure = partial(calibrate_batch_norm, model, plain, seed=settings.seed)
        callbacks.insert(0, LambdaCallback(on_epoch_end=lambda *_: measure()))
    if done < epochs and not course.finished:
        again = settings.augment is None and orders.size >= len(train)  # each image, as it was
        if again and (kept := keep(list(train["path"]))) is not None:
            data = _gathered(kept, y_train, orders[done:], batch_size)
        else:
            augment = None
            if settings.augment is not None:
                augment = augmentation_layers(**settings.augment, seed=settings.seed)
            data = batches(
                list(train["path"]),
                y_train,
                size=size,
                batch_size=batch_size,
                orders=orders[done:],
                augment=augment,
                first_step=done * steps,
            )
            if below is not None:
                data = data.map(partial(_through, below, learning.input_shape))
        course.run(data, y_train, steps=steps, callbacks=callbacks)
    model.trainable = True
    return course.finish()


def _gathered(
    inputs: np.ndarray, y: np.ndarray, orders: np.ndarray, batch_size: int
) -> tf.data.Dataset:
    """Return batches of what is in memory, with labels, pass after pass of `orders`."""
    inputs, y = tf.constant(inputs), tf.constant(y)
    return positions(orders, batch_size).map(lambda at: (tf.gather(inputs, at), tf.gather(y, at)))


def _below(
    parts: tuple | None, paths: list, *, size: tuple[int, int], batch_size: int
) -> np.ndarray | None:
    """Compute once what stays the same in training: what comes into the first block that learns.

    Float32, one row an image; None where all is learnt, or where it is too much to keep.
    """
    if parts is None or 4 * len(paths) * np.prod(parts[1].input_shape[1:]) > KEPT_BYTES:
        return None
    some = (paths[at : at + batch_size] for at in range(0, len(paths), batch_size))
    return np.concatenate([parts[0](load_images(few, size=size)) for few in some])


def _probs_above(learning: keras.Model, kept: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the probabilities of now from what stays the same."""
    some = (kept[at : at + batch_size] for at in range(0, len(kept), batch_size))
    return np.concatenate([np.asarray(learning(few, training=False)) for few in some])


def _through(
    below: Callable, shape: tuple, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.ensure_shape(tf.numpy_function(below, [images], tf.float32), shape), labels


def _apart(train: pd.DataFrame, val: pd.DataFrame) -> pd.DataFrame:
    """Return both tables as one, after refusing a source photo that is in both."""
    both = pd.concat([train.assign(split="train"), val.assign(split="val")])
    check_no_leak(both)
    return both


def unfreeze(model: keras.Model, from_block: str) -> None:
    """Make a model trainable from a block on, and not below it; see `fine_tune`.

    Raises
    ------
    HematoVisionError
        Where the model has no such block.
    """
    first = first_layer_of(from_block, model)
    model.trainable = True
    for position, layer in enumerate(model.layers):
        layer.trainable = position >= first
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM


def _head(model: keras.Model) -> keras.Model:
    """Return the layers above the pooled features as a model of their own, weights shared."""
    position = model.layers.index(model.get_layer(FEATURE_LAYER))
    inputs = keras.Input(model.layers[position].output.shape[1:])
    x = inputs
    for layer in model.layers[position + 1 :]:
        x = layer(x)
    return keras.Model(inputs, x)


def _some(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    return table.sample(min(count, len(table)), random_state=seed)
