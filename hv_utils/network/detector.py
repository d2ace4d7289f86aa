"""The detector of white cells, red cells and platelets: its network, its targets, its loss.

A field, brought to one scale, becomes three maps of how likely the middle of a cell of each kind
lies in a cell of the grid, and four of how far the box reaches from there (Zhou et al. 2019; the
targets are those of Liu et al. 2020). At one scale a kind has one size, so no anchors are needed.
Nothing here depends on which library computes for Keras.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hv_utils.fields.view import GROUND
from hv_utils.inference.detector import FIELD_KINDS, FIELD_UM, RED, SCALE, STRIDE, THRESHOLDS
from hv_utils.inference.onnx_model import INPUT
from hv_utils.network.kernels import store_half
from hv_utils.network.onnx_graph import Graph, layer_weights

if TYPE_CHECKING:
    import keras
    import onnx

DEPTHS = ((1, 16), (2, 32), (3, 64), (3, 88))  # convolutions and channels at 1/2, 1/4, 1/8, 1/16
PRIOR = 0.02  # share of middles that an untrained network sees: keeps its first loss small
REACH = 0.54  # of a box, to which its target spreads (Liu et al. 2020)
LEAST_SPREAD = 0.6  # cells of the grid
BOX_WEIGHT = 5.0
DOUBT = 0.5  # a target between: what is found there weighs a sixteenth
LONGEST = 8.0  # of the log of a distance, in cells of the grid: keeps exponentials finite
KINDS, RED_INDEX = len(FIELD_KINDS), FIELD_KINDS.index(RED)


def _network(net: _KerasLayers | _GraphLayers, x: Any) -> tuple[Any, Any]:
    """Lay the network with the layers of `net`: a path down, one up, and two heads."""
    levels = []
    for layers, channels in DEPTHS:
        for number in range(layers):
            x = net.conv(x, channels, stride=1 if number else 2)
        levels.append((x, channels))
    for (level, channels), wide in ((levels[2], 64), (levels[1], 48)):
        x = net.add(net.twice(net.conv(x, channels, kernel=1)), level)
        x = net.conv(x, wide)
    return tuple(net.head(net.conv(x, 48), name, n) for name, n in (("heat", KINDS), ("reach", 4)))


def build_detector(*, seed: int = 0) -> keras.Model:
    """Build the network: 0.4 million weights, a path down and one up.

    Parameters
    ----------
    seed : int
        Of the first weights.

    Returns
    -------
    keras.Model
        Takes float32 (N, H, W, 3), 0 to 255, H and W multiples of 16. Gives float32
        (N, H/4, W/4, 7): the kinds' logits, then the logarithms of how far left, up, right and
        down the box reaches, in cells of the grid.
    """
    import keras

    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 64, offset=-GROUND / 64, name="input")(images)
    maps = keras.layers.Concatenate(name="maps")(_network(_KerasLayers(seed), x))
    return keras.Model(images, maps, name="detector")


def write_detector(model: keras.Model, thresholds: Mapping[str, float]) -> onnx.ModelProto:
    """Write a trained detector as an ONNX graph, its kernels in 16 bits.

    Parameters
    ----------
    model : keras.Model
        From `build_detector`.
    thresholds : mapping of str to float
        By kind, from which score on a find counts: they travel in the graph's metadata.

    Returns
    -------
    onnx.ModelProto
        Takes `images`, uint8 (N, H, W, 3), H and W multiples of 16. Gives `heat`, float32
        (N, h, w, 3), 0 to 1, and `reach`, float32 (N, h, w, 4), in cells of the grid.
    """
    from onnx import TensorProto, helper

    graph = Graph(layer_weights(model), "relu")
    heat, reach = _network(_GraphLayers(graph), graph.pixels())
    graph.add("Transpose", graph.add("Sigmoid", heat), name="heat", perm=[0, 2, 3, 1])
    graph.add("Transpose", graph.add("Exp", reach), name="reach", perm=[0, 2, 3, 1])
    value = helper.make_tensor_value_info
    proto = graph.model(
        [value(INPUT, TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            value(name, TensorProto.FLOAT, ["N", "h", "w", n])
            for name, n in (("heat", KINDS), ("reach", 4))
        ],
    )
    store_half(proto)
    facts = {THRESHOLDS: thresholds, SCALE: FIELD_UM}
    helper.set_model_props(proto, {name: json.dumps(fact) for name, fact in facts.items()})
    return proto


class _KerasLayers:
    """The layers as Keras has them, their first weights drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.seeds = itertools.count(seed * 1000)
        self.number = itertools.count()

    def conv(self, x: Any, channels: int, *, stride: int = 1, kernel: int = 3) -> Any:
        from keras import initializers, layers

        number = next(self.number)
        start = initializers.HeNormal(next(self.seeds))
        options = {"strides": stride, "padding": "same", "use_bias": False}
        options |= {"kernel_initializer": start, "name": f"conv{number}"}
        x = layers.Conv2D(channels, kernel, **options)(x)
        norm = layers.BatchNormalization(momentum=0.97, name=f"bn{number}")
        return layers.ReLU()(norm(x))

    def twice(self, x: Any) -> Any:
        from keras import layers

        return layers.UpSampling2D(2)(x)

    def add(self, x: Any, level: Any) -> Any:
        from keras import layers

        return layers.Add()([x, level])

    def head(self, x: Any, name: str, channels: int) -> Any:
        from keras import initializers, layers

        bias = np.log(PRIOR / (1 - PRIOR)) if name == "heat" else 0.5
        start = initializers.RandomNormal(0, 0.01, next(self.seeds))
        options = {"kernel_initializer": start, "name": name}
        return layers.Conv2D(channels, 1, bias_initializer=initializers.Constant(bias), **options)(
            x
        )


class _GraphLayers:
    """The same layers in a graph, with the weights that Keras has learnt."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.number = itertools.count()

    def conv(self, x: str, channels: int, *, stride: int = 1, kernel: int = 3) -> str:
        number = next(self.number)
        x = self.graph.conv(x, f"conv{number}", f"bn{number}", stride=stride)
        return self.graph.add("Relu", x)

    def twice(self, x: str) -> str:
        scales = self.graph.tensor(f"{x}/scales", np.array([1, 1, 2, 2]))
        options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.graph.add("Resize", x, "", scales, mode="nearest", **options)

    def add(self, x: str, level: str) -> str:
        return self.graph.add("Add", x, level)

    def head(self, x: str, name: str, channels: int) -> str:
        return self.graph.conv(x, name)


def targets(
    boxes: np.ndarray, kinds: np.ndarray, side: int, *, stained: np.ndarray | None = None
) -> np.ndarray:
    """Draw what the network should say of a square picture.

    Parameters
    ----------
    boxes : numpy.ndarray, shape (B, 4), float
        xmin, ymin, xmax, ymax in pixels of the picture.
    kinds : numpy.ndarray, shape (B,), int
        Positions in `FIELD_KINDS`.
    side : int
        Of the picture, a multiple of 16.
    stained : numpy.ndarray, shape (side/4, side/4), bool, optional
        Where something is that may be a red cell without a box, since whoever drew the boxes left
        many out: to call it one is hardly punished.

    Returns
    -------
    numpy.ndarray, shape (side/4, side/4, 8), float32
        For each kind 1 at a middle, falling around it; then the box's corners in cells of the grid
        and how much each cell counts for the boxes' loss.
    """
    cells = side // STRIDE
    drawn = np.zeros((cells, cells, KINDS + 5), np.float32)
    grid = np.arange(cells)
    if stained is not None:
        drawn[..., RED_INDEX][stained] = DOUBT
        for x0, y0, x1, y1 in np.clip(np.round(boxes / STRIDE), 0, cells).astype(int):
            drawn[y0:y1, x0:x1, RED_INDEX] = 0  # in a box it is known what there is
    wide, high = ((boxes[:, i + 2] - boxes[:, i]) / STRIDE for i in (0, 1))
    for index in np.argsort(-wide * high, kind="stable"):  # small boxes lie over large ones
        x0, y0, x1, y1 = boxes[index] / STRIDE
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        column, row = int(x), int(y)
        if not (0 <= column < cells and 0 <= row < cells):
            continue
        spread = [max(LEAST_SPREAD, REACH * length / 6) for length in (wide[index], high[index])]
        bell = np.exp(-0.5 * ((grid - column) / spread[0]) ** 2)[None]
        bell = bell * np.exp(-0.5 * ((grid - row) / spread[1]) ** 2)[:, None]
        bell[bell < 0.01] = 0
        heat = drawn[..., kinds[index]]
        np.maximum(heat, bell, out=heat)
        inside = bell > 0
        drawn[inside, KINDS:-1] = boxes[index] / STRIDE
        share = bell[inside] / bell.sum()
        drawn[inside, -1] = share * np.log(max(wide[index] * high[index], 2.0))
    return drawn


def detector_loss(true, maps):
    """Return the loss of each picture: focal for the middles, overlap for the boxes.

    Parameters
    ----------
    true : tensor, shape (N, h, w, 8), float32
        From `targets`.
    maps : tensor, shape (N, h, w, 7), float32
        From the network.

    Returns
    -------
    tensor, shape (N,), float32
    """
    from keras import ops

    heat, corners, weight = true[..., :KINDS], true[..., KINDS:-1], true[..., -1]
    logits, reach = maps[..., :KINDS], maps[..., KINDS:]
    found = ops.sigmoid(logits)
    yes, no = ops.softplus(-logits), ops.softplus(logits)  # minus the logarithms
    middle = ops.cast(heat > 0.999, "float32")
    right = middle * yes * (1 - found) ** 2
    wrong = (1 - middle) * no * found**2 * (1 - heat) ** 4
    n_cells = ops.maximum(ops.sum(middle, axis=(1, 2, 3)), 1.0)
    focal = ops.sum(right + wrong, axis=(1, 2, 3)) / n_cells

    height, width = maps.shape[1], maps.shape[2]
    x = ops.arange(width, dtype="float32")[None, None] + 0.5
    y = ops.arange(height, dtype="float32")[None, :, None] + 0.5
    left, up, right_, down = (ops.exp(ops.minimum(reach[..., i], LONGEST)) for i in range(4))
    boxed = _overlap_loss((x - left, y - up, x + right_, y + down), corners)
    total = ops.maximum(ops.sum(weight, axis=(1, 2)), 1e-3)
    return focal + BOX_WEIGHT * ops.sum(boxed * weight, axis=(1, 2)) / total


def _overlap_loss(found, corners):
    """Return 1 minus the generalised overlap (Rezatofighi et al. 2019) in each cell of the grid."""
    from keras import ops

    true = tuple(corners[..., i] for i in range(4))

    def area(left, up, right, down):
        return ops.maximum(right - left, 0.0) * ops.maximum(down - up, 0.0)

    def either_way(inner, outer):
        first, second = (inner(found[i], true[i]) for i in (0, 1))
        return area(first, second, outer(found[2], true[2]), outer(found[3], true[3]))

    shared, hull = either_way(ops.maximum, ops.minimum), either_way(ops.minimum, ops.maximum)
    either = area(*found) + area(*true) - shared + 1e-6
    return 1 - shared / either + (hull - either) / (hull + 1e-6)
