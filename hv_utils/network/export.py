"""From a trained Keras model to an ONNX file that runs without TensorFlow.

Keras exports the graph; here it is made ready for people: clear names, images as they come from
the decoder, weights stored in half the space, the head's weights beside it for an exact Grad-CAM.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, dump_json, fingerprint, write_text
from hv_utils.inference.onnx_model import INPUT, OUTPUTS, arrays_path, facts_path
from hv_utils.network.kernels import name_kernels, store_half, vectors
from hv_utils.network.model import FEATURE_LAYER, FEATURE_MAP_LAYER, LOGITS_LAYER, load_model

if TYPE_CHECKING:
    import keras
    import onnx


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
        Where the model cannot be loaded, is not one of this project, or tf2onnx is missing.
    """
    model, meta = loaded or load_model(model_path)
    head = head_arrays(model)
    graph = to_onnx(model)
    name_kernels(graph, model)
    if half:
        store_half(graph)
    onnx_path = Path(onnx_path)
    with atomic_path(onnx_path) as temporary:
        temporary.write_bytes(graph.SerializeToString())
    facts = {**meta, "half": half, "made_from_sha256": fingerprint(Path(model_path))}
    return write_companions(onnx_path, facts=facts, arrays={**head, **vectors(model)})


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


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """Return a model's graph with the input and outputs described in `export_model`, float32."""
    import keras

    try:
        import onnx
        import tf2onnx  # noqa: F401 (Keras imports it; here only to say what is missing)
    except ImportError as error:
        raise HematoVisionError(
            f"expected the package {error.name} for the export to ONNX, but it is not installed: "
            "run `make book` again or `pip install tf2onnx onnx`"
        ) from error

    plain = fold_normalization(model)
    outputs = [plain.get_layer(name).output for name in (LOGITS_LAYER, FEATURE_MAP_LAYER)]
    exported = keras.Model(plain.input, outputs)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # Keras's own shims for NumPy, nothing to act upon
        exported(np.zeros((1, *model.input_shape[1:]), np.float32))  # it exports only what was used
        path = Path(folder) / "model.onnx"
        exported.export(path, format="onnx", verbose=False)
        proto = onnx.load(path)
    _rename(proto, model.input_shape[1:3])
    onnx.checker.check_model(proto)
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what TensorFlow's C++ code logs: remarks on graph optimisers, not to be switched off."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def fold_normalization(model: keras.Model) -> keras.Model:
    """Return a copy of a model with `Rescaling` in place of `Normalization`.

    Both compute x * scale + offset, but of `Normalization` the export makes stray graph inputs.
    """
    import keras

    def clone(layer: keras.Layer) -> keras.Layer:
        if not isinstance(layer, keras.layers.Normalization):
            return type(layer).from_config(layer.get_config())
        mean = np.asarray(layer.mean, np.float64).ravel()
        spread = np.maximum(np.sqrt(np.asarray(layer.variance, np.float64).ravel()), 1e-7)
        scale, offset = (1 / spread).tolist(), (-mean / spread).tolist()
        return keras.layers.Rescaling(scale, offset, name=layer.name)

    copy = keras.models.clone_model(model, clone_function=clone)
    for ours, theirs in zip(model.layers, copy.layers, strict=True):
        if theirs.weights:
            theirs.set_weights(ours.get_weights())
    return copy


def _rename(proto: onnx.ModelProto, size: tuple[int, int]) -> None:
    """Give the graph the names and types that `export_model` promises, in place."""
    from onnx import TensorProto, helper

    graph = proto.graph
    names = {value.name: ours for value, ours in zip(graph.output, OUTPUTS, strict=True)}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in graph.output:
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    (old,) = graph.input  # more than one would be a stray input
    graph.node.insert(0, helper.make_node("Cast", [INPUT], [old.name], to=TensorProto.FLOAT))
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *size, 3])
    del graph.input[:]
    graph.input.append(images)
    del graph.value_info[:]
