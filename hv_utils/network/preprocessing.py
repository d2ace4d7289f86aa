"""From image files to the batches that EfficientNetB0 eats: decode, resize, augment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores
from hv_utils.images.reading import read_resized

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

IMAGE_SIZE = (224, 224)
DECODE_THREADS = 2


def load_images(
    paths: Iterable[str | Path],
    *,
    size: tuple[int, int] = IMAGE_SIZE,
) -> np.ndarray:
    """Read images into one array.

    Parameters
    ----------
    paths : iterable of str or Path
    size : tuple of int
        (height, width) in pixels; the proportions of the image are not kept.

    Returns
    -------
    numpy.ndarray
        Shape (N, *size, 3), dtype uint8, range 0 to 255.

    Raises
    ------
    ImageError
        Where a file is no image.
    """
    paths = list(paths)
    images = np.empty((len(paths), *size, 3), np.uint8)
    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        decoded = pool.map(lambda path: read_resized(path, size), paths)
        for index, image in enumerate(decoded):
            images[index] = image
    return images


def run_batches(
    call: Callable[[np.ndarray], Any],
    paths: Sequence[str | Path],
    *,
    size: tuple[int, int],
    batch_size: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """Read image files in batches and call something with each, one batch a core at once.

    Parameters
    ----------
    call : callable
        Takes uint8 (B, *size, 3), range 0 to 255; of one thread, as a network on ONNX Runtime is.
    paths : sequence of str or Path
        N image files.
    size : tuple of int
        (height, width) in pixels.
    batch_size : int
        B; the last batch may be shorter.
    progress : callable, optional
        Called with (images done, N) after each batch, see `progress.print_progress`.

    Returns
    -------
    list
        What `call` gave, in the order of the batches.

    Raises
    ------
    ImageError
        Where a file is no image.
    """
    parts = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    found = []
    with ThreadPoolExecutor(cores()) as pool:
        for output in pool.map(lambda part: call(load_images(part, size=size)), parts):
            found.append(output)
            if progress:
                progress(min(len(found) * batch_size, len(paths)), len(paths))
    return found


def batches(
    paths: Sequence[str | Path],
    labels_index: Sequence[int] | None = None,
    *,
    size: tuple[int, int] = IMAGE_SIZE,
    batch_size: int = 32,
    orders: np.ndarray | None = None,
    augment: keras.Model | None = None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Return batches of images, decoded while they are used, so that any number fits in memory.

    Parameters
    ----------
    paths : sequence of str or Path
        N image files.
    labels_index : sequence of int, optional
        Class of each image, 0 to K - 1. Without it the batches hold images alone.
    size : tuple of int
        (height, width) in pixels.
    batch_size : int
        The last batch of a pass is kept even when it is short.
    orders : array, shape (passes, M), int, optional
        Positions of the images of each pass; by default one pass over all as they come.
    augment : keras.Model, optional
        `augmentation_layers(...)`, applied to each batch. What it draws depends on its seed and the
        number of the batch alone.
    first_step : int
        Number of the first batch.

    Returns
    -------
    tf.data.Dataset
        Of float32 (B, *size, 3), range **0 to 255**, or of pairs with int32 (B,) labels.
        EfficientNetB0 rescales and normalises by itself, so nothing is divided here.
    """
    import tensorflow as tf

    paths = list(paths)
    labels = None if labels_index is None else tf.constant(labels_index, tf.int32)

    def read(at: np.ndarray) -> np.ndarray:
        # Pillow rather than TensorFlow's decoder: training and prediction then share one decoder.
        return load_images([paths[number] for number in at], size=size)

    def finish(step: tf.Tensor, at: tf.Tensor) -> tf.Tensor | tuple:
        images = tf.numpy_function(read, [at], tf.uint8, stateful=False)
        images = tf.cast(tf.ensure_shape(images, (None, *size, 3)), tf.float32)
        if augment is not None:
            restart(augment, step)
            images = augment(images, training=True)
        return images if labels is None else (images, tf.gather(labels, at))

    if augment is not None:
        from hv_utils.network.augmentation import restart
    if orders is None:
        orders = np.arange(len(paths))[None]
    return positions(orders, batch_size).enumerate(first_step).map(finish).prefetch(2)


def positions(orders: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Return batches of positions, int64 (B,), pass after pass of `orders`, (passes, M)."""
    import tensorflow as tf

    def one_pass(order: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    return tf.data.Dataset.from_tensor_slices(orders).flat_map(one_pass)


def augmentation_layers(
    *,
    rotation_degrees: float = 20,
    zoom: float = 0.1,
    shift: float = 0.1,
    flip: bool = True,
    stain: float = 0.0,
    seed: int = 0,
) -> keras.Model:
    """Return random rotation, zoom, shift, mirroring and stain as Keras layers.

    Parameters
    ----------
    rotation_degrees : float
        Largest turn to either side.
    zoom : float
        Largest change of scale to either side, as a share.
    shift : float
        Largest shift to either side, as a share of the height and of the width.
    flip : bool
        Whether to mirror, left to right and top to bottom: a smear has no upside.
    stain : float
        Strength of the change of colours, see `augmentation.RandomStain`; 0 leaves them alone.
    seed : int

    Returns
    -------
    keras.Model
        Takes and gives float32 (N, height, width, 3), range 0 to 255. Acts only with
        `training=True`. What comes into view is black, as in the data set's own copies.
    """
    import keras

    from hv_utils.network.augmentation import RandomAffine, RandomStain

    moves = {"rotation_degrees": rotation_degrees, "zoom": zoom, "shift": shift, "flip": flip}
    layers: list = [RandomAffine(**moves, seed=seed)]
    if stain:
        layers.append(RandomStain(stain, seed=seed + 1))
    return keras.Sequential(layers, name="augmentation")


def image_data_generator(
    *, rotation_degrees: float = 20, zoom: float = 0.1, shift: float = 0.1, flip: bool = True
) -> tf.keras.preprocessing.image.ImageDataGenerator:
    """Return the same augmentation the older way, with Keras's deprecated ImageDataGenerator.

    It works on NumPy arrays, one image at a time, and is kept for the comparison in the book.
    Parameters as in `augmentation_layers`; the seed is an argument of its `flow`.
    """
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(
        rotation_range=rotation_degrees,
        zoom_range=zoom,
        width_shift_range=shift,
        height_shift_range=shift,
        horizontal_flip=flip,
        vertical_flip=flip,
        fill_mode="constant",
        cval=0.0,
    )


def class_weights(labels_index: Sequence[int]) -> dict[int, float]:
    """Weigh each class so that all count the same in the loss, however many images they have.

    Parameters
    ----------
    labels_index : sequence of int
        Class of each training image.

    Returns
    -------
    dict of int to float
        N / (K * images of the class) for each class, scikit-learn's "balanced"; 1 where all classes
        are equally frequent.

    Raises
    ------
    HematoVisionError
        Where there are no labels.
    """
    from sklearn.utils.class_weight import compute_class_weight

    if not len(labels_index):
        raise HematoVisionError("expected the labels of the training images, but there are none")
    classes = np.unique(labels_index)
    weights = compute_class_weight("balanced", classes=classes, y=labels_index)
    return dict(zip(classes.tolist(), weights.tolist(), strict=True))
