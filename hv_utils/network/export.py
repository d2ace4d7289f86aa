"""From a trained Keras model to an ONNX file that runs without TensorFlow.

`onnx_graph` writes the graph; here its weights are stored in half the space, and the head's are
put beside it for an exact Grad-CAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, dump_json, fingerprint, write_text
from hv_utils.inference.onnx_model import (
    OUTPUTS,
    OnnxClassifier,
    arrays_path,
    facts_path,
    open_session,
)
from hv_utils.network.kernels import store_half, vectors
from hv_utils.network.model import (
    FEATURE_LAYER,
    FEATURE_MAP_LAYER,
    LOGITS_LAYER,
    input_size,
    load_model,
)
from hv_utils.network.onnx_graph import layer_weights, write_graph

if TYPE_CHECKING:
    import keras


def export_model(
    model_path: str | Path,
    onnx_path: str | Path,
    *,
    half: bool = True,
    loaded: tuple[keras.Model, dict[str, Any]] | None = None,
) -> Path:
    """Export a saved Keras model to ONNX.

    Parameters
    ----------
    model_path : str or Path
        A `.keras` file with its sidecar, see `model.save_model`.
    onnx_path : str or Path
        Where to write. Beside it come `<onnx_path>.npz` (the head's weights and what the backbone
        holds beside kernels) and `<onnx_path>.json` (classes, size, checksums of both).
    half : bool
        Store the kernels as 16-bit floats: half the file. The arithmetic stays 32-bit, and nothing
        is lost where `kernels.round_kernels` came before.
    loaded : tuple, optional
        What `model.load_model` gave for `model_path`, where it is loaded already.

    Returns
    -------
    Path
        `onnx_path`. Its graph takes `images`, uint8 (N, height, width, 3), 0 to 255, N free, and
        gives `logits`, float32 (N, K), and `feature_map`, float32 (N, h, w, 1280).

    Raises
    ------
    HematoVisionError
        Where the model cannot be loaded or is not one of this project.
    """
    model, meta = loaded or load_model(model_path)
    head = head_arrays(model)
    graph = write_graph(layer_weights(model), size=input_size(model), outputs=OUTPUTS)
    if half:
        store_half(graph)
    onnx_path = Path(onnx_path)
    with atomic_path(onnx_path) as temporary:
        temporary.write_bytes(graph.SerializeToString())
    facts = {**meta, "half": half, "made_from_sha256": fingerprint(Path(model_path))}
    return write_companions(onnx_path, facts=facts, arrays={**head, **vectors(model)})


def as_classifier(model: keras.Model) -> OnnxClassifier:
    """Return a Keras model as it would be exported, in memory and with its classes unnamed."""
    graph = write_graph(layer_weights(model), size=input_size(model), outputs=OUTPUTS)
    arrays = list(head_arrays(model).values())
    return OnnxClassifier(
        session=open_session(graph.SerializeToString()),
        classes=tuple(map(str, range(model.output_shape[-1]))),
        size=input_size(model),
        head=list(zip(arrays[::2], arrays[1::2], strict=True)),
    )


def write_companions(
    onnx_path: Path, *, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Path:
    """Write the two files that go with an ONNX file: arrays, then facts with both checksums.

    Parameters
    ----------
    onnx_path : Path
        A finished ONNX file.
    facts : mapping
        What is to be known of the model: `classes`, `size`, `temperature`, `thresholds` and so on.
    arrays : mapping of str to numpy.ndarray
        The head (`head_0_kernel`, `head_0_bias`, …), with the prefix `base_` what
        `kernels.vectors` gives, and with the prefix `novelty_` the statistics of the training
        features.
    """
    with atomic_path(arrays_path(onnx_path)) as temporary:
        np.savez_compressed(temporary, **arrays)
    checksums = {"onnx": fingerprint(onnx_path), "npz": fingerprint(arrays_path(onnx_path))}
    facts = {**facts, "bytes": onnx_path.stat().st_size, "sha256": checksums}
    write_text(facts_path(onnx_path), dump_json(facts))
    return onnx_path


def move_export(source: Path, target: Path) -> Path:
    """Give an export, all three files of it, another name; the one that vouches for it comes last.

    Until then `target` is what it was, or is refused by its checksums.
    """
    for name in (Path, arrays_path, facts_path):
        name(source).replace(name(target))
    return target


def head_arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """Return the weights above the pooled features, in order.

    Returns
    -------
    dict of str to numpy.ndarray
        `head_<i>_kernel` (inputs, outputs) and `head_<i>_bias` (outputs,), float32; a ReLU stands
        between each and the next.

    Raises
    ------
    HematoVisionError
        Where the head holds something else than dense layers.
    """
    names = [layer.name for layer in model.layers]
    if not {FEATURE_LAYER, FEATURE_MAP_LAYER, LOGITS_LAYER} <= set(names):
        raise HematoVisionError(
            f"expected a model with the layers {FEATURE_MAP_LAYER}, {FEATURE_LAYER} and "
            f"{LOGITS_LAYER}, but it lacks some: only models of build_model can be exported"
        )
    between = model.layers[names.index(FEATURE_LAYER) + 1 : names.index(LOGITS_LAYER) + 1]
    dense = [layer for layer in between if layer.weights]
    wanted = ["relu"] * (len(dense) - 1) + ["linear"]
    if [getattr(getattr(x, "activation", None), "__name__", "") for x in dense] != wanted:
        raise HematoVisionError(
            "expected a head of dense layers with ReLU between them, but the model has "
            f"{', '.join(layer.name for layer in dense)}: its heat maps could not be computed"
        )
    arrays = {}
    for index, layer in enumerate(dense):
        kernel, bias = layer.get_weights()
        arrays |= {f"head_{index}_kernel": kernel, f"head_{index}_bias": bias}
    return arrays
