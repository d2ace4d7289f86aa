"""EfficientNetB0 as an ONNX graph, written layer by layer from its weights.

Keras trains the network. What only computes its outputs (features, validation after an epoch,
predictions, the export) runs this graph on ONNX Runtime: the same numbers, without the seconds
that tracing takes, and several times as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hv_utils.ground.files import cores
from hv_utils.inference.onnx_model import INPUT, open_session
from hv_utils.network.preprocessing import run_batches

if TYPE_CHECKING:
    import keras
    import onnx

# Layers of each stage and the stride of the first (Tan and Le, 2019, table 1).
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
EPSILON = np.float32(1e-3)  # of every batch normalisation
PREFIX = "kernel/"  # of a kernel's name in the graph
OPSET, IR = 15, 8  # of 2021: what runs in a browser reads them, too


def layer_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Return a Keras model's weights as `write_graph` takes them.

    Returns
    -------
    dict of str to numpy.ndarray
        Under `<layer>/<variable>`, and `input/scale` and `input/offset` of what happens to the
        pixels before the first convolution.
    """
    import keras

    scale, offset = np.ones(3), np.zeros(3)
    for layer in model.layers:  # Keras's ImageNet variant rescales twice
        if isinstance(layer, keras.layers.Rescaling):
            scale, offset = scale * layer.scale, offset * layer.scale + layer.offset
        elif isinstance(layer, keras.layers.Normalization):
            mean, variance = (np.ravel(x).astype(float) for x in (layer.mean, layer.variance))
            spread = np.maximum(np.sqrt(variance), keras.config.epsilon())
            scale, offset = scale / spread, (offset - mean) / spread
    weights = {
        f"{layer.name}/{variable.path.split('/')[-1]}": variable.numpy()
        for layer in model.layers
        for variable in layer.weights
    }
    return {**weights, "input/scale": scale, "input/offset": offset}


def norm_scale(weights: Mapping[str, np.ndarray], norm: str) -> np.ndarray:
    """Return what a batch normalisation multiplies each channel with: shape (channels,)."""
    return weights[f"{norm}/gamma"] / np.sqrt(weights[f"{norm}/moving_variance"] + EPSILON)


def write_graph(
    weights: Mapping[str, np.ndarray],
    *,
    size: tuple[int, int],
    outputs: Sequence[str] = ("features",),
    activation: str = "swish",
) -> onnx.ModelProto:
    """Write EfficientNetB0, with the head of this project where the weights hold one.

    Parameters
    ----------
    weights : mapping of str to numpy.ndarray
        See `layer_weights`. Without squeeze-and-excitation among them the gates are left out: that
        is EfficientNet-Lite0.
    size : tuple of int
        Input (height, width) in pixels.
    outputs : sequence of str
        Of `feature_map`, float32 (N, height/32, width/32, 1280); `features`, its mean, (N, 1280);
        `logits` and `probabilities`, (N, K); and of a block, as `block7a` or `top`, what comes into
        it, (N, height, width, channels).
    activation : str
        `swish`, or `relu6` as in EfficientNet-Lite0.

    Returns
    -------
    onnx.ModelProto
        Takes `images`, uint8 (N, *size, 3), 0 to 255, N free. Kernels are named `kernel/<layer>`;
        but for the depthwise ones they are multiplied with the scale of the normalisation behind.
    """
    from onnx import TensorProto, helper

    graph = Graph(weights, activation)
    starts = _backbone(graph)
    x = starts.pop("head")
    graph.add("Transpose", x, name="feature_map", perm=[0, 2, 3, 1])
    graph.add("Flatten", graph.add("GlobalAveragePool", x), name="features")
    shapes: dict[str, Sequence] = {
        "feature_map": [-(-size[0] // 32), -(-size[1] // 32), 1280],
        "features": [1280],
    }
    for block in set(outputs) & set(starts):
        graph.add("Transpose", starts[block], name=block, perm=[0, 2, 3, 1])
        shapes[block] = [None, None, None]
    if graph.has("logits"):
        _head(graph)
        graph.add("Softmax", "logits", name="probabilities")
        shapes["logits"] = shapes["probabilities"] = weights["logits/bias"].shape
    value = helper.make_tensor_value_info
    return graph.model(
        [value(INPUT, TensorProto.UINT8, ["N", *size, 3])],
        [value(name, TensorProto.FLOAT, ["N", *shapes[name]]) for name in outputs],
    )


def graph_outputs(
    graph: onnx.ModelProto,
    paths: Sequence[str | Path],
    *,
    batch_size: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return the output of a graph that has one, with a row for each image file.

    Parameters
    ----------
    graph : onnx.ModelProto
        From `write_graph`.
    paths, batch_size, progress
        As in `model.extract_features`.
    """
    session = open_session(graph.SerializeToString())
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    found = run_batches(
        lambda images: session.run(None, {INPUT: images})[0],
        paths,
        size=tuple(taken.shape[1:3]),
        batch_size=batch_size,
        progress=progress,
    )
    return np.concatenate([np.zeros((0, *given.shape[1:]), np.float32), *found])


def array_outputs(graph: onnx.ModelProto, images: np.ndarray, *, batch_size: int = 4) -> np.ndarray:
    """Return the output of a graph that has one, with a row for each image.

    Parameters
    ----------
    graph : onnx.ModelProto
        From `write_graph`.
    images : array, shape (N, H, W, 3), uint8, 0 to 255
    batch_size : int
        Images at once.
    """
    session = open_session(graph.SerializeToString())
    starts = range(0, len(images), batch_size)
    with ThreadPoolExecutor(cores()) as pool:
        batches = (images[start : start + batch_size] for start in starts)
        return np.concatenate(list(pool.map(lambda x: session.run(None, {INPUT: x})[0], batches)))


def _backbone(graph: Graph) -> dict[str, str]:
    """Add the backbone; return what comes into each block, into the top and into the head."""
    x = graph.active(graph.conv(graph.pixels(), "stem_conv", "stem_bn", stride=2))
    starts = {}
    for stage, (layers, stride) in enumerate(STAGES, start=1):
        for letter in "abcd"[:layers]:
            name = f"block{stage}{letter}"
            starts[name] = x
            if letter == "a":
                x = _block(graph, x, f"{name}_", stride)
            else:
                x = graph.add("Add", _block(graph, x, f"{name}_"), x)
    return {**starts, "top": x, "head": graph.active(graph.conv(x, "top_conv", "top_bn"))}


def _block(graph: Graph, x: str, name: str, stride: int = 1) -> str:
    """Add an inverted block: expand, convolve each channel by itself, gate, project."""
    if graph.has(f"{name}expand_conv"):
        x = graph.active(graph.conv(x, f"{name}expand_conv", f"{name}expand_bn"))
    x = graph.active(graph.depthwise(x, f"{name}dwconv", f"{name}bn", stride=stride))
    if graph.has(f"{name}se_reduce"):
        gate = graph.add("GlobalAveragePool", x)
        gate = graph.active(graph.conv(gate, f"{name}se_reduce"))
        x = graph.add("Mul", x, graph.add("Sigmoid", graph.conv(gate, f"{name}se_expand")))
    return graph.conv(x, f"{name}project_conv", f"{name}project_bn")


def _head(graph: Graph) -> None:
    x = "features"
    for layer in ("hidden", "logits"):
        if graph.has(layer):
            kernel = graph.tensor(PREFIX + layer, graph.weights[f"{layer}/kernel"])
            bias = graph.tensor(f"{layer}/bias", graph.weights[f"{layer}/bias"])
            last = layer == "logits"
            x = graph.add("Gemm", x, kernel, bias, name="logits" if last else "")
            x = x if last else graph.add("Relu", x)


class Graph:
    """The nodes and tensors of a graph while it is written."""

    def __init__(self, weights: Mapping[str, np.ndarray], activation: str) -> None:
        self.weights, self.activation = weights, activation
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def has(self, layer: str) -> bool:
        """Tell whether the weights hold a layer."""
        return f"{layer}/kernel" in self.weights

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        name = name or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def tensor(self, name: str, array: np.ndarray) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        self.tensors.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def pixels(self) -> str:
        """Add what happens to the images before the first convolution; channels come first."""
        from onnx import TensorProto

        x = self.add("Cast", INPUT, to=TensorProto.FLOAT)
        x = self.add("Transpose", x, perm=[0, 3, 1, 2])
        for op, name in (("Mul", "input/scale"), ("Add", "input/offset")):
            x = self.add(op, x, self.tensor(name, self.weights[name].reshape(3, 1, 1)))
        return x

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Return the finished graph as a model, checked."""
        from onnx import checker, helper

        proto = helper.make_graph(self.nodes, "hematovision", inputs, outputs, self.tensors)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(proto, opset_imports=opset, ir_version=IR, producer_name="hv")
        checker.check_model(model)
        return model

    def active(self, x: str) -> str:
        """Add the activation."""
        if self.activation == "relu6":
            low, high = (self.tensor(f"{x}/{bound}", np.float32(bound)) for bound in (0, 6))
            return self.add("Clip", x, low, high)
        return self.add("Mul", x, self.add("Sigmoid", x))

    def conv(self, x: str, layer: str, norm: str = "", stride: int = 1) -> str:
        """Add a convolution; a normalisation behind it goes into its kernel and bias."""
        kernel = self.weights[f"{layer}/kernel"]
        kernel = kernel * norm_scale(self.weights, norm) if norm else kernel
        kernel = self.tensor(PREFIX + layer, kernel.transpose(3, 2, 0, 1))
        bias = self._shift(norm) if norm else self.weights[f"{layer}/bias"]
        bias = self.tensor(f"{layer}/bias", bias)
        return self.add("Conv", x, kernel, bias, strides=[stride] * 2, auto_pad="SAME_UPPER")

    def depthwise(self, x: str, layer: str, norm: str, stride: int) -> str:
        """Add a depthwise convolution, its kernel as it is, and the normalisation behind it."""
        kernel = self.weights[f"{layer}/kernel"].transpose(2, 3, 0, 1)
        options = {"strides": [stride] * 2, "group": len(kernel), "auto_pad": "SAME_UPPER"}
        x = self.add("Conv", x, self.tensor(PREFIX + layer, kernel), **options)
        scale = norm_scale(self.weights, norm), self._shift(norm)
        scale, shift = (value.reshape(1, -1, 1, 1) for value in scale)
        x = self.add("Mul", x, self.tensor(f"{norm}/scale", scale))
        return self.add("Add", x, self.tensor(f"{norm}/shift", shift))

    def _shift(self, norm: str) -> np.ndarray:
        mean = self.weights[f"{norm}/moving_mean"]
        return self.weights[f"{norm}/beta"] - mean * norm_scale(self.weights, norm)
