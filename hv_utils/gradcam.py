"""Heat maps of what a verdict rests on: compute, normalise, lay over, score.

Grad-CAM weighs the channels of a feature map by the gradient of a class's logit (Selvaraju et al.,
ICCV 2017). The score is the energy-based pointing game: which share of the map falls on the target
(Wang et al., CVPR Workshops 2020), beside the peak's position (Zhang et al., IJCV 2018). Nothing
here changes what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hv_utils.errors import HematoVisionError

if TYPE_CHECKING:
    import keras

FEATURE_MAP_LAYER = "top_activation"
LOGITS_LAYER = "logits"
NUCLEUS_FROM, CELL_FROM = 192, 64  # grey levels of a truth mask: 128 cytoplasm, 255 nucleus


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


def enlarge(heat_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate a heat map to another (height, width), bilinearly; float32, not normalised."""
    height, width = size
    image = Image.fromarray(np.asarray(heat_map, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def normalise(heat_map: np.ndarray) -> np.ndarray:
    """Stretch a heat map to 0…1 for the eye.

    Parameters
    ----------
    heat_map : numpy.ndarray
        Shape (h, w).

    Returns
    -------
    numpy.ndarray
        Shape (h, w), dtype float32. A flat map holds nothing to see and becomes zero.
    """
    low, high = float(np.min(heat_map)), float(np.max(heat_map))
    if not high > low:
        return np.zeros(np.shape(heat_map), np.float32)
    return ((np.asarray(heat_map, dtype=np.float64) - low) / (high - low)).astype(np.float32)


def overlay(image: np.ndarray, heat_map: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """Lay a heat map over an image; the hotter, the less of the image shows through.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (height, width, 3), uint8.
    heat_map : numpy.ndarray
        Shape (h, w), any range; enlarged and normalised here.
    alpha : float
        Opacity where the map is hottest, 0 to 1.

    Returns
    -------
    numpy.ndarray
        Shape (height, width, 3), dtype uint8, a new array.
    """
    from matplotlib import colormaps

    heat = normalise(enlarge(heat_map, image.shape[:2]))
    colours = colormaps["inferno"](heat)[:, :, :3] * 255
    opacity = alpha * heat[:, :, None]
    return np.round(image * (1 - opacity) + colours * opacity).astype(np.uint8)


def energy_inside(heat_map: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of a heat map that falls on a target.

    Parameters
    ----------
    heat_map : numpy.ndarray
        Shape (h, w), at least 0, not normalised; enlarged to the mask where their sizes differ.
    mask : numpy.ndarray
        Shape (height, width), bool, True on the target.

    Returns
    -------
    float
        0 to 1; NaN for a map that is zero everywhere.
    """
    heat = _on_grid_of(mask, heat_map)
    total = heat.sum(dtype=np.float64)
    return float(heat[mask].sum(dtype=np.float64) / total) if total > 0 else float("nan")


def peak_inside(heat_map: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether the hottest point falls on a target; False for a flat map.

    Parameters as in `energy_inside`.
    """
    heat = _on_grid_of(mask, heat_map)
    if not heat.max() > heat.min():
        return False
    return bool(mask[np.unravel_index(np.argmax(heat), heat.shape)])


def _on_grid_of(mask: np.ndarray, heat_map: np.ndarray) -> np.ndarray:
    if np.ndim(heat_map) != 2 or np.ndim(mask) != 2:
        raise HematoVisionError(
            f"expected one heat map and one mask of two dimensions each, but got shapes "
            f"{np.shape(heat_map)} and {np.shape(mask)}: pass them one by one"
        )
    same = np.shape(heat_map) == np.shape(mask)
    return np.asarray(heat_map) if same else enlarge(heat_map, mask.shape)


def score_map(heat_map: np.ndarray, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Score one heat map against several targets.

    Parameters
    ----------
    heat_map : numpy.ndarray
        Shape (h, w), at least 0.
    targets : mapping of str to numpy.ndarray
        Bool masks of shape (height, width) by name, such as `nucleus`, `cell`, `box`.

    Returns
    -------
    dict of str to float
        For each target `energy_<name>`, `area_<name>` (share of the image that it takes: what an
        even map would score) and `peak_<name>` (0 or 1). NaN for an empty target.
    """
    scores: dict[str, float] = {}
    for name, mask in targets.items():
        found = bool(mask.any())
        scores[f"energy_{name}"] = energy_inside(heat_map, mask) if found else float("nan")
        scores[f"area_{name}"] = float(mask.mean()) if found else float("nan")
        scores[f"peak_{name}"] = float(peak_inside(heat_map, mask)) if found else float("nan")
    return scores


def random_map(
    shape: tuple[int, int], rng: np.random.Generator, *, grid: tuple[int, int] = (7, 7)
) -> np.ndarray:
    """Return a random smooth map: the yardstick of a method that knows nothing.

    Parameters
    ----------
    shape : tuple of int
        (height, width).
    rng : numpy.random.Generator
    grid : tuple of int
        Points that are drawn, as many as a feature map has; between them it is interpolated.

    Returns
    -------
    numpy.ndarray
        Of `shape`, dtype float32, at least 0.
    """
    drawn = np.maximum(rng.normal(size=grid), 0) + 1e-6  # like a Grad-CAM map after its ReLU
    return enlarge(drawn, shape)


def read_mask(path: str | Path) -> dict[str, np.ndarray]:
    """Read a truth mask of the demo (grey: 0 background, 128 cytoplasm, 255 nucleus).

    Returns
    -------
    dict of str to numpy.ndarray
        `nucleus` and `cell` (nucleus and cytoplasm), bool, shape (height, width).

    Raises
    ------
    HematoVisionError
        Where the file is missing or no image.
    """
    from hv_utils.images import read_image

    grey = read_image(path)[:, :, 0]
    return {"nucleus": grey >= NUCLEUS_FROM, "cell": grey >= CELL_FROM}


def box_mask(
    shape: tuple[int, int], xmin: float, ymin: float, xmax: float, ymax: float
) -> np.ndarray:
    """Return a mask of `shape` (height, width) that is True inside a box of pixel coordinates."""
    height, width = shape
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
    return (x >= xmin) & (x < xmax) & (y >= ymin) & (y < ymax)


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
    prefixes = [layer.name.split("_")[0] for layer in model.layers]
    if from_block not in prefixes:
        raise HematoVisionError(
            f"expected the name of a block or layer of the model, but got {from_block!r}: "
            "logits, hidden, top, block7a and so on down to stem are possible"
        )
    first = prefixes.index(from_block)
    for position, (old, new) in enumerate(zip(model.layers, copy.layers, strict=True)):
        values = old.get_weights()
        if position >= first and not isinstance(old, keras.layers.BatchNormalization):
            values = [rng.permutation(value.ravel()).reshape(value.shape) for value in values]
        new.set_weights(values)
        if hasattr(new, "finalize_state"):
            new.finalize_state()
    return copy
