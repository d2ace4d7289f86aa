"""Start weights: where the ImageNet features of EfficientNetB0 come from.

`imagenet` is Keras's own file, downloaded once. `lite0` ships with the project, for machines
without internet: the ImageNet weights of EfficientNet-Lite0, whose convolutions and batch
normalisations fit EfficientNetB0 one to one. `hematovision` is the backbone of the model in the
box, trained on blood cells (for both see `hv_utils/shipped/README.md`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.onnx_model import SHIPPED_MODEL, read_verified
from hv_utils.network.kernels import fill_backbone
from hv_utils.network.model import FEATURE_MAP_LAYER

if TYPE_CHECKING:
    import keras

START_WEIGHTS = ("auto", "imagenet", "lite0", "hematovision", "none")
CALIBRATION_IMAGES = {"lite0": 256}  # that measure batch norms whose statistics do not fit
FOLDER = Path(__file__).parent.parent / "shipped"
DOWNLOAD_HOST = "storage.googleapis.com"
# EfficientNet-Lite0 was trained on (x - 127) / 128. EfficientNetB0 divides by 255 and then
# normalises, so these two make its first layers compute the same.
LITE0_MEAN = 127 / 255
LITE0_VARIANCE = (128 / 255) ** 2


def backbone(
    weights: str = "auto", *, size: tuple[int, int] = (224, 224), seed: int = 0
) -> tuple[keras.Model, str]:
    """Build EfficientNetB0 without its classifier, and fill it.

    Parameters
    ----------
    weights : str
        `imagenet`, `lite0`, `none` (random), `auto` (`imagenet` where it is in Keras's cache or can
        be downloaded, else `lite0`), `hematovision` (the backbone of the home model, which
        knows blood cells: see `learnt`), or the path of a `model.keras` of this project.
    size : tuple of int
        Input (height, width) in pixels, at least 32 each.
    seed : int
        Of the weights that no file provides.

    Returns
    -------
    base : keras.Model
        Input float32 (N, height, width, 3), range 0 to 255: it rescales and normalises by itself.
        Output the last feature map, float32 (N, height/32, width/32, 1280).
    name : str
        What was taken, `auto` resolved.

    Raises
    ------
    HematoVisionError
        Where `weights` is unknown, cannot be downloaded, or is damaged.
    """
    import keras

    shape = (*size, 3)
    build = keras.applications.EfficientNetB0
    if weights in ("auto", "imagenet"):
        if weights == "imagenet" or imagenet_within_reach():
            try:
                return build(include_top=False, weights="imagenet", input_shape=shape), "imagenet"
            except Exception as error:  # urllib's, h5py's and Keras's own errors
                if weights == "imagenet":
                    raise _no_imagenet(error) from error
        print("start weights: lite0, shipped with the project (Keras's are out of reach)")
        weights = "lite0"
    base = build(include_top=False, weights=None, input_shape=shape)
    draw_kernels(base, seed)
    if weights == "lite0":
        load_lite0(base)
    elif weights == "hematovision":
        load_hematovision(base)
    elif weights != "none":
        base = backbone_of(weights, size=size)
        weights = "/".join(Path(weights).absolute().parts[-2:])  # the run folder and the file
    return base, weights


def draw_kernels(model: keras.Model, seed: int) -> None:
    """Draw a model's kernels anew, each as its layer says, from `seed` and the layer's position."""
    for number, layer in enumerate(model.layers):
        for kind in ("kernel_initializer", "depthwise_initializer"):
            if start := getattr(layer, kind, None):
                own = {**start.get_config(), "seed": _seed_of(number, seed)}
                layer.kernel.assign(type(start).from_config(own)(layer.kernel.shape))


def seed_dropouts(model: keras.Model, seed: int) -> None:
    """Let each layer that drops at random draw from `seed` and its position."""
    for number, layer in enumerate(model.layers):
        if generator := getattr(layer, "seed_generator", None):
            generator.state.assign([_seed_of(number, seed), 0])


def _seed_of(number: int, seed: int) -> int:
    return int(np.random.default_rng((seed, number)).integers(2**31))


def _no_imagenet(error: Exception) -> HematoVisionError:
    reason = (str(error) or type(error).__name__).splitlines()[0][:120]
    return HematoVisionError(
        f"expected Keras's ImageNet weights, but they could not be loaded ({reason}): probably "
        "there is no internet; take weights=lite0, which ships with the project"
    )


def imagenet_within_reach(*, timeout: float = 3.0) -> bool:
    """Return whether Keras's ImageNet weights are in its cache or their server answers."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    if (home / "models" / "efficientnetb0_notop.h5").is_file():
        return True
    try:
        with socket.create_connection((DOWNLOAD_HOST, 443), timeout=timeout):
            return True
    except OSError:
        return False


def read_lite0(folder: Path = FOLDER) -> dict[str, np.ndarray]:
    """Read the shipped weights after verifying their checksum.

    Parameters
    ----------
    folder : Path
        Where `lite0.npz` and `lite0.json` lie.

    Returns
    -------
    dict of str to numpy.ndarray
        float32 arrays under `<layer>/<variable>`.

    Raises
    ------
    HematoVisionError
        Where a file is missing or damaged.
    """
    try:
        expected = json.loads((folder / "lite0.json").read_text(encoding="utf-8"))["sha256"]
        data = (folder / "lite0.npz").read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise HematoVisionError(
            f"expected the start weights lite0.npz and lite0.json in {folder}, but they cannot be "
            f"read ({type(error).__name__}): fetch the project again, or run "
            "scripts/convert_lite0.py"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise HematoVisionError(
            f"expected {folder / 'lite0.npz'} with SHA-256 {expected[:12]}…, but it has "
            f"{found[:12]}…: the file is damaged; fetch the project again, or run "
            "scripts/convert_lite0.py"
        )
    with np.load(io.BytesIO(data)) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def lite0_weights() -> dict[str, np.ndarray]:
    """Return the shipped weights as `onnx_graph.write_graph` takes them."""
    spread = np.full(3, np.sqrt(LITE0_VARIANCE))
    inputs = {"input/scale": 1 / 255 / spread, "input/offset": -LITE0_MEAN / spread}
    return {**read_lite0(), **inputs}


def load_lite0(base: keras.Model, *, gate: float = 0.5, folder: Path = FOLDER) -> None:
    """Fill EfficientNetB0 with the EfficientNet-Lite0 weights, in place.

    Convolutions and batch normalisations are copied. Squeeze-and-excitation, which Lite0 lacks,
    starts as a constant: with the kernel of its last layer at zero each channel is multiplied by
    `gate`, whatever the image, and the convolution that follows is divided by `gate`, so the two
    cancel. The gate stays trainable: its kernel has a gradient from the first step, and at 0.5 the
    sigmoid is steepest. Swish in place of ReLU6 is left to fine-tuning.

    Parameters
    ----------
    base : keras.Model
        `keras.applications.EfficientNetB0(include_top=False, weights=None)`.
    gate : float
        Between 0 and 1.
    folder : Path
        Of the shipped weights.
    """
    arrays = read_lite0(folder)
    for layer in base.layers:
        names = [variable.path.split("/")[-1] for variable in layer.weights]
        if f"{layer.name}/{names[0] if names else ''}" in arrays:
            values = [arrays[f"{layer.name}/{name}"] for name in names]
            if layer.name.endswith("project_conv"):
                values = [values[0] / gate]
            layer.set_weights(values)
        elif layer.name.endswith("se_expand"):
            kernel, bias = layer.get_weights()
            constant = np.log(gate / (1 - gate))  # the sigmoid's inverse
            layer.set_weights([np.zeros_like(kernel), np.full_like(bias, constant)])
    normalization = next(layer for layer in base.layers if hasattr(layer, "adapt_mean"))
    normalization.adapt_mean.assign(np.full(3, LITE0_MEAN, np.float32))
    normalization.adapt_variance.assign(np.full(3, LITE0_VARIANCE, np.float32))
    normalization.finalize_state()


def load_hematovision(base: keras.Model, *, path: Path = SHIPPED_MODEL) -> None:
    """Fill EfficientNetB0 with the backbone of an exported model, the shipped one, in place.

    Raises
    ------
    HematoVisionError
        Where a file is missing or damaged, or was exported before its kernels were rounded.
    """
    import onnx

    _, graph, arrays = read_verified(path)
    try:
        fill_backbone(base, onnx.load_from_string(graph), arrays)
    except KeyError as error:
        raise HematoVisionError(
            f"expected a whole backbone in {path}, but {error} is missing: export the model again"
        ) from error


def backbone_of(path: str | Path, *, size: tuple[int, int]) -> keras.Model:
    """Return the backbone of a model that was saved with `model.save_model`.

    Raises
    ------
    HematoVisionError
        Where the file is missing, unreadable, of another architecture or another input size.
    """
    import keras

    path = Path(path)
    if not path.is_file():
        raise HematoVisionError(
            f"expected start weights {', '.join(START_WEIGHTS)} or a model's path, but got "
            f"{str(path)!r}, where there is no file: check the spelling"
        )
    try:
        donor = keras.saving.load_model(path, compile=False)
        base = keras.Model(donor.input, donor.get_layer(FEATURE_MAP_LAYER).output)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise HematoVisionError(
            f"expected a model of this project, but {path} holds no EfficientNetB0 ({reason}): "
            "give a model.keras from a run folder"
        ) from error
    if base.input_shape[1:3] != tuple(size):
        raise HematoVisionError(
            f"expected a model for {size[0]}x{size[1]} pixels, but {path} takes "
            f"{base.input_shape[1]}x{base.input_shape[2]}: set the parameter size to that"
        )
    return base


def calibrate_batch_norm(
    model: keras.Model, images: np.ndarray, *, batch_size: int = 64, seed: int = 0
) -> None:
    """Set the running statistics of every batch normalisation to those of `images`, in place.

    The lite0 start weights come from a network with ReLU6; under EfficientNetB0's swish the
    activations have another mean and spread, and the statistics stored with the weights no longer
    fit. One pass over some training images, without labels and without gradients, mends that.

    Parameters
    ----------
    model : keras.Model
    images : numpy.ndarray
        Shape (N, height, width, 3), uint8, 0 to 255.
    batch_size : int
        The statistics are averaged over batches of this many images.
    """
    import keras

    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    dropouts = [x for x in model.layers if isinstance(x, keras.layers.Dropout)]
    saved = [x.momentum for x in norms], [x.rate for x in dropouts]
    for dropout in dropouts:
        dropout.rate = 0.0
    order = np.random.default_rng(seed).permutation(len(images))
    parts = np.array_split(order, max(1, len(images) // batch_size))
    for number, part in enumerate(parts):
        for norm in norms:
            norm.momentum = number / (number + 1)  # the statistics become the mean of all so far
        model(images[part].astype(np.float32), training=True)
    for norm, momentum in zip(norms, saved[0], strict=True):
        norm.momentum = momentum
    for dropout, rate in zip(dropouts, saved[1], strict=True):
        dropout.rate = rate
