"""The kernels of EfficientNetB0 in 16 bits: the same in Keras, in ONNX and back.

The exported graph multiplies most convolutions with the scale of the batch normalisation behind
them, and stores the product in 16 bits. Rounding that product in the Keras model, too, makes both
compute the same, so what is scored is what is shipped; and as nothing is lost, the graph can be
turned back into a backbone to go on training from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hv_utils.network.onnx_graph import PREFIX

if TYPE_CHECKING:
    import keras
    import onnx

HALF_FROM = 256  # smaller arrays are not worth the loss of precision
HALF_LARGEST = 6e4  # float16 ends at 65,504
VECTOR_PREFIX = "base_"  # of a bias's or a statistic's name in the NPZ file


def storable(array: np.ndarray) -> bool:
    """Return whether an array is stored in 16 bits: kernels are, vectors and small ones are not."""
    is_vector = max(array.shape, default=1) == array.size  # also as (1, C, 1, 1)
    large = array.size >= HALF_FROM
    return large and not is_vector and float(np.abs(array).max()) < HALF_LARGEST


def round_kernels(model: keras.Model) -> None:
    """Round a model's kernels, in place, to what 16 bits can hold of them in the exported graph.

    Parameters
    ----------
    model : keras.Model
        From `model.build_model`, trained. A kernel moves by 0.05 % at most, but for values below
        1e-4.
    """
    for layer, index, scale in _kernels(model):
        values = layer.get_weights()
        folded = values[index] * scale
        if storable(folded):
            rounded = folded.astype(np.float16).astype(np.float32)
            values[index] = np.divide(rounded, scale, out=values[index], where=scale != 0)
            layer.set_weights(values)


def _kernels(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, int, np.ndarray]]:
    """Yield each layer with a kernel, the kernel's position, and the scale that goes into it."""
    import keras

    norms = {
        layer.name: layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    for layer in model.layers:
        for index, variable in enumerate(layer.weights):
            if len(variable.shape) > 1:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                norm = None if depthwise else norms.get(_norm_behind(layer.name))
                yield layer, index, _scale(norm, variable.shape)


def _norm_behind(name: str) -> str:
    """Return what EfficientNet calls the normalisation behind a convolution."""
    return f"{name.removesuffix('conv')}bn" if name.endswith("conv") else ""


def _scale(norm: keras.layers.BatchNormalization | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return what a kernel (…, channels) is multiplied with in the graph, shaped like it."""
    if norm is None:
        return np.ones(shape, np.float32)
    gamma, _, _, variance = norm.get_weights()
    return np.broadcast_to(gamma / np.sqrt(variance + np.float32(norm.epsilon)), shape)


def _from_onnx(kernel: np.ndarray, depthwise: bool) -> np.ndarray:
    if kernel.ndim == 2:
        return kernel
    return kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))


def store_half(proto: onnx.ModelProto) -> None:
    """Store a graph's kernels as float16, in place.

    A `Cast` node turns each back. ONNX Runtime computes these once, when it loads the file, so
    that nothing is slower afterwards.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or not storable(array):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def vectors(model: keras.Model) -> dict[str, np.ndarray]:
    """Return all that a backbone holds beside its kernels: biases, norms, the input's statistics.

    Returns
    -------
    dict of str to numpy.ndarray
        Under `base_<layer>/<position among the layer's weights>`, the head's biases among them.
        Empty for Keras's ImageNet variant: it has a layer more at its input than the backbone that
        `fill_backbone` fills.
    """
    import keras

    if sum(isinstance(layer, keras.layers.Rescaling) for layer in model.layers) > 1:
        return {}
    return {
        _vector_name(layer, index): values
        for layer in model.layers
        for index, values in enumerate(layer.get_weights())
        if values.ndim < 2
    }


def _vector_name(layer: keras.layers.Layer, index: int) -> str:
    import keras

    is_input = isinstance(layer, keras.layers.Normalization)  # Keras counts its name up
    return f"{VECTOR_PREFIX}{'normalization' if is_input else layer.name}/{index}"


def fill_backbone(
    base: keras.Model, proto: onnx.ModelProto, arrays: Mapping[str, np.ndarray]
) -> None:
    """Fill EfficientNetB0 with the weights of an exported graph, in place.

    Parameters
    ----------
    base : keras.Model
        `keras.applications.EfficientNetB0(include_top=False, weights=None)`, of any size.
    proto : onnx.ModelProto
        An exported graph, see `onnx_graph.write_graph`.
    arrays : mapping of str to numpy.ndarray
        With the entries of `vectors`.

    Raises
    ------
    KeyError
        Where the graph or the arrays lack something that the backbone holds.
    """
    import keras
    from onnx import numpy_helper

    stored = {
        tensor.name.removesuffix("/half"): numpy_helper.to_array(tensor).astype(np.float32)
        for tensor in proto.graph.initializer
    }
    folded = {layer.name: stored[PREFIX + layer.name] for layer, _, _ in _kernels(base)}
    for layer in base.layers:  # vectors first: the kernels' scales come from them
        values = layer.get_weights()
        for index, value in enumerate(values):
            if value.ndim < 2:
                values[index] = arrays[_vector_name(layer, index)].astype(value.dtype)
        layer.set_weights(values)
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    for layer, index, scale in _kernels(base):
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        values = layer.get_weights()
        kernel = _from_onnx(folded[layer.name], depthwise)
        values[index] = np.divide(kernel, scale, out=np.zeros_like(kernel), where=scale != 0)
        layer.set_weights(values)
