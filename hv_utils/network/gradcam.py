"""Heat maps of what a verdict rests on.

Grad-CAM weighs the channels of a feature map by the gradient of a class's logit (Selvaraju et al.,
ICCV 2017). `images.heat_maps` enlarges them and lays them over the image, `studies.gradcam_scores`
scores them. Nothing here changes what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from hv_utils.ground.files import cores
from hv_utils.network.export import as_classifier
from hv_utils.network.model import FEATURE_MAP_LAYER, LOGITS_LAYER, first_layer_of

if TYPE_CHECKING:
    import keras


def grad_cam(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    layer: str = FEATURE_MAP_LAYER,
    batch_size: int = 16,
) -> np.ndarray:
    """Compute Grad-CAM heat maps.

    Parameters
    ----------
    model : keras.Model
        From `model.build_model`.
    images : numpy.ndarray
        Shape (N, height, width, 3), range 0 to 255, of the model's input size.
    class_index : int or sequence of int, optional
        The class to explain, one for all or one each; by default the predicted class.
    layer : str
        Whose feature map is weighed. The last convolution's (the default) is the most telling and
        the coarsest: 7x7 at 224x224.
    batch_size : int

    Returns
    -------
    numpy.ndarray
        Shape (N, h, w) of the feature map, dtype float32, at least 0, not normalised. The gradient
        is the logit's: after a softmax it would also say which classes are *not* seen.
    """
    import keras
    import tensorflow as tf

    outputs = [model.get_layer(layer).output, model.get_layer(LOGITS_LAYER).output]
    watched = keras.Model(model.input, outputs)
    wanted = None
    if class_index is not None:
        wanted = np.broadcast_to(np.asarray(class_index, dtype=int), len(images))
    maps = []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        with tf.GradientTape() as tape:
            feature_map, logits = watched(tf.cast(images[part], tf.float32), training=False)
            chosen = tf.argmax(logits, axis=1) if wanted is None else wanted[part]
            score = tf.gather(logits, chosen, axis=1, batch_dims=1)
        # Each logit depends on its own image alone, so one gradient of the sum serves them all.
        gradient = tape.gradient(score, feature_map)
        weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        maps.append(tf.nn.relu(tf.reduce_sum(weights * feature_map, axis=3)).numpy())
    return np.concatenate(maps) if maps else np.zeros((0, 0, 0), np.float32)


def closed_form(
    model: keras.Model, images: np.ndarray, class_index: Sequence[int], *, batch_size: int = 4
) -> np.ndarray:
    """Compute the maps of `grad_cam` by formula, on ONNX Runtime: without a way back.

    Parameters
    ----------
    model, images
        As in `grad_cam`; uint8.
    class_index : sequence of int
        The class to explain, one for each image.
    batch_size : int
        Images of one call; several calls run at once.

    Returns
    -------
    numpy.ndarray
        As from `grad_cam`; for the mathematics see `OnnxClassifier.heat_maps`.

    Raises
    ------
    HematoVisionError
        Where the head holds something else than dense layers.
    """
    network, class_index = as_classifier(model), np.asarray(class_index)

    def maps(start: int) -> np.ndarray:
        part = slice(start, start + batch_size)
        return network.heat_maps(network.run(images[part])[1], class_index[part])

    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(maps, range(0, len(images), batch_size)))
    return np.concatenate(found) if found else np.zeros((0, 0, 0), np.float32)


def shuffle_weights(model: keras.Model, from_block: str, *, seed: int = 0) -> keras.Model:
    """Return a copy of a model whose weights are shuffled from a block up to the output.

    The sanity check of Adebayo et al. (NeurIPS 2018): a heat map that looks the same afterwards
    shows the image, not what the model has learnt.

    Parameters
    ----------
    model : keras.Model
        Left as it is.
    from_block : str
        Prefix of the lowest layer to shuffle: `logits`, `hidden`, `top`, `block7a`, … `stem`.
    seed : int

    Returns
    -------
    keras.Model
        Each kernel keeps its numbers, in a random order; batch normalisations stay.
    """
    import keras

    rng = np.random.default_rng(seed)
    copy = keras.models.clone_model(model)
    first = first_layer_of(from_block, model)
    for position, (old, new) in enumerate(zip(model.layers, copy.layers, strict=True)):
        values = old.get_weights()
        if position >= first and not isinstance(old, keras.layers.BatchNormalization):
            values = [rng.permutation(value.ravel()).reshape(value.shape) for value in values]
        new.set_weights(values)
        if hasattr(new, "finalize_state"):
            new.finalize_state()
    return copy
