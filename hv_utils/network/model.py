"""The classifier: EfficientNetB0 with a small head, built flat, saved whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, cores, dump_json, write_text
from hv_utils.inference.onnx_model import INPUT, open_session
from hv_utils.network.onnx_graph import graph_outputs, layer_weights, write_graph
from hv_utils.network.preprocessing import IMAGE_SIZE

if TYPE_CHECKING:
    import keras

FEATURE_LAYER = "avg_pool"
FEATURE_MAP_LAYER = "top_activation"  # the last of the backbone
LOGITS_LAYER = "logits"


def build_model(
    n_classes: int,
    *,
    size: tuple[int, int] = IMAGE_SIZE,
    weights: str = "auto",
    hidden: int = 128,
    dropout: float = 0.3,
    seed: int = 0,
) -> keras.Model:
    """Build EfficientNetB0 (Tan and Le, ICML 2019) with a head for `n_classes` classes.

    The model is flat: the head stands directly on the backbone's own layers, so that gradients of
    a logit reach every feature map (Keras 3 cannot cut through a nested model).

    Parameters
    ----------
    n_classes : int
        K, at least 2.
    size : tuple of int
        Input (height, width) in pixels, at least 32 each.
    weights : str
        Where the backbone's weights come from, see `weights.backbone`.
    hidden : int
        Units of the hidden layer; 0 leaves it out.
    dropout : float
        Share of the features that are dropped in training, 0 to below 1.
    seed : int
        Of the initial weights and of dropout; nothing global is seeded.

    Returns
    -------
    keras.Model
        Input float32 (N, *size, 3), range 0 to 255. Output float32 (N, K), probabilities. Layers
        to be found by name: `top_activation` (last feature map), `avg_pool` (1280 features),
        `logits`. The attribute `start_weights` says what `weights` came to.

    Raises
    ------
    HematoVisionError
        Where the start weights are unknown, damaged or out of reach, or a number is out of range.
    """
    import keras

    from hv_utils.network.weights import backbone, seed_dropouts

    if n_classes < 2:
        raise HematoVisionError(
            f"expected at least two classes to tell apart, but got {n_classes}: "
            "check the labels of the image table"
        )
    if min(size) < 32:
        raise HematoVisionError(
            f"expected a size of at least 32x32 pixels, but got {size[0]}x{size[1]}: "
            "EfficientNetB0 halves the image five times; 224x224 is its own"
        )
    base, start = backbone(weights, size=size, seed=seed)
    x = keras.layers.GlobalAveragePooling2D(name=FEATURE_LAYER)(base.output)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    if hidden:
        kernel = keras.initializers.GlorotUniform(seed)
        x = keras.layers.Dense(hidden, "relu", kernel_initializer=kernel, name="hidden")(x)
    kernel = keras.initializers.GlorotUniform(seed + 1)
    x = keras.layers.Dense(n_classes, kernel_initializer=kernel, name=LOGITS_LAYER)(x)
    outputs = keras.layers.Activation("softmax", name="probabilities")(x)
    model = keras.Model(base.input, outputs, name="hematovision")
    seed_dropouts(model, seed)
    model.start_weights = start
    return model


def first_layer_of(block: str, model: keras.Model) -> int:
    """Return the position of the first layer of a block, such as `stem`, `block6a` or `logits`.

    Raises
    ------
    HematoVisionError
        Where the model has none.
    """
    prefixes = [layer.name.split("_")[0] for layer in model.layers]
    if block not in prefixes:
        raise HematoVisionError(
            f"expected a block or layer of the model ({', '.join(dict.fromkeys(prefixes))}), but "
            f"got {block!r}: check the parameter"
        )
    return prefixes.index(block)


def input_size(model: keras.Model) -> tuple[int, int]:
    """Return the (height, width) in pixels that a model takes."""
    _, height, width, _ = model.input_shape
    return height, width


def extract_features(
    model: keras.Model,
    paths: Sequence[str | Path],
    *,
    batch_size: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return the features below the head, pooled over the image.

    Parameters
    ----------
    model : keras.Model
    paths : sequence of str or Path
        N image files.
    batch_size : int
        Images of one call; several calls run at once.
    progress : callable, optional
        Called with (images done, N) after each batch, see `progress.print_progress`.

    Returns
    -------
    numpy.ndarray
        Shape (N, 1280), dtype float32.
    """
    return _outputs(model, "features", paths, batch_size, progress)


def predict_probs(
    model: keras.Model,
    paths: Sequence[str | Path],
    *,
    batch_size: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return the probability of each class for each image.

    Parameters
    ----------
    model, paths, batch_size, progress
        As in `extract_features`.

    Returns
    -------
    numpy.ndarray
        `pred_probs`, shape (N, K), dtype float32, rows sum to 1, columns in class order.
    """
    return _outputs(model, "probabilities", paths, batch_size, progress)


def _outputs(
    model: keras.Model,
    name: str,
    paths: Sequence[str | Path],
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """Compute one output of the network on ONNX Runtime: Keras takes seconds to trace it."""
    graph = write_graph(layer_weights(model), size=input_size(model), outputs=[name])
    return graph_outputs(graph, paths, batch_size=batch_size, progress=progress)


def part_below(
    model: keras.Model, block: str
) -> tuple[Callable[[np.ndarray], np.ndarray], keras.Model] | None:
    """Part a network into what lies below a block, which only computes, and the rest of it.

    Parameters
    ----------
    model : keras.Model
        From `build_model`.
    block : str
        Such as `block7a` or `top`.

    Returns
    -------
    below : callable
        Takes images (N, *size, 3), range 0 to 255, which it rounds, and gives what comes into the
        block, float32, with the weights of now, on ONNX Runtime.
    above : keras.Model
        Takes that, and shares its layers with `model`.
        None in place of both where nothing that can be parted lies below.
    """
    import keras

    if not block.startswith(("block", "top")):
        return None
    first = model.layers[first_layer_of(block, model)]
    graph = write_graph(layer_weights(model), size=input_size(model), outputs=[block])
    session = open_session(graph.SerializeToString(), threads=cores())

    def below(images: np.ndarray) -> np.ndarray:
        return session.run(None, {INPUT: np.rint(images).astype(np.uint8)})[0]

    return below, keras.Model(first.input, model.output)


def save_model(
    model: keras.Model,
    path: str | Path,
    *,
    classes: Sequence[str],
    size: tuple[int, int] | None = None,
    **meta: Any,
) -> Path:
    """Save a whole model and, beside it as `<path>.json`, what is needed to use it.

    The whole model rather than its weights: Keras's ImageNet variant has a layer more than the
    others, so bare weights would load into the wrong architecture.

    Parameters
    ----------
    model : keras.Model
    path : str or Path
        Ending in `.keras`.
    classes : sequence of str
        The K classes, in the order of the model's output.
    size : tuple of int, optional
        (height, width) of the input; read from the model where not given.
    **meta
        Further facts for the sidecar, such as `temperature`.

    Returns
    -------
    Path
        `path`. Both files are written to a temporary name and renamed.

    Raises
    ------
    HematoVisionError
        Where the number of classes is not that of the model's outputs.
    """
    import keras

    path = Path(path)
    if model.output_shape[-1] != len(classes):
        raise HematoVisionError(
            f"expected {model.output_shape[-1]} classes, one for each output of the model, but got "
            f"{len(classes)} ({', '.join(classes)}): build the model for these classes"
        )
    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    with atomic_path(path) as temporary:
        bare.save(temporary)
    facts = {"classes": list(classes), "size": list(size or input_size(model)), **meta}
    write_text(sidecar(path), dump_json(facts))
    return path


def sidecar(path: str | Path) -> Path:
    """Return the path of the JSON file that goes with a saved model."""
    return Path(f"{path}.json")


def load_model(path: str | Path) -> tuple[keras.Model, dict[str, Any]]:
    """Load a model that `save_model` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    model : keras.Model
    meta : dict
        `classes` (list of str), `size` (tuple height, width) and what else was saved.

    Raises
    ------
    HematoVisionError
        Where the model or its sidecar is missing or damaged.
    """
    import keras

    path = Path(path)
    if not path.is_file():
        raise HematoVisionError(
            f"expected a trained model, but nothing is at {path}: "
            "train one first with notebooks/03_model.ipynb or `hv run`"
        )
    try:
        meta = json.loads(sidecar(path).read_text(encoding="utf-8"))
        classes = meta["classes"]
    except (OSError, ValueError, KeyError) as error:
        raise HematoVisionError(
            f"expected {sidecar(path)} with the model's classes, but it cannot be read "
            f"({type(error).__name__}): keep both files of a model together"
        ) from error
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise HematoVisionError(
            f"expected a Keras model, but {path} cannot be loaded ({reason}): "
            "the file is damaged or was made by another version; train again"
        ) from error
    if model.output_shape[-1] != len(classes):
        raise HematoVisionError(
            f"expected {len(classes)} outputs for the classes in {sidecar(path).name}, but the "
            f"model has {model.output_shape[-1]}: the two files do not belong together"
        )
    meta["size"] = tuple(meta.get("size") or input_size(model))
    return model, meta


def model_facts(model: keras.Model) -> dict[str, float]:
    """Return the size of a model: `parameters`, `trainable_parameters`, `float32_mb`."""
    total = sum(int(np.prod(weight.shape)) for weight in model.weights)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return {
        "parameters": total,
        "trainable_parameters": trainable,
        "float32_mb": total * 4 / 1e6,
    }
