"""Networks that judge the same images: a trained one, shuffled copies of it, heads taught anew.

All run on ONNX Runtime. What lies below the last convolution is most of the work; it is done once
for all that share it, so that a shuffled head or another one costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores
from hv_utils.inference.onnx_model import INPUT, OnnxClassifier, open_session
from hv_utils.network.onnx_graph import PREFIX

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Head = list[tuple[np.ndarray, np.ndarray]]
TRAINED = "trained"
UPPER = ("logits", "hidden", "top")  # stages that leave the trunk as it is, from the output down
TOP = "top_conv"
BATCH, AT_ONCE = 4, 32  # images of one call; whose feature maps are held at once


@dataclass(frozen=True)
class Judge:
    """What stands on a trunk: the last convolution and the head.

    Attributes
    ----------
    name : str
    top : (kernel, bias)
        Of the last convolution, shapes (C, 1280) and (1280,).
    head : list of (kernel, bias)
        Of the dense layers.
    """

    name: str
    top: tuple[np.ndarray, np.ndarray]
    head: Head

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logits (N, K) of pooled features (N, 1280)."""
        x = features
        for kernel, bias in self.head[:-1]:
            x = np.maximum(x @ kernel + bias, 0)
        kernel, bias = self.head[-1]
        return x @ kernel + bias


@dataclass(frozen=True)
class Judges:
    """J networks that take the same images.

    Attributes
    ----------
    classifier : OnnxClassifier
        The trained one, with its classes and its size.
    trunks : tuple of (session, tuple of Judge)
        The first judge of the first trunk is the trained network.
    """

    classifier: OnnxClassifier
    trunks: tuple[tuple[onnxruntime.InferenceSession, tuple[Judge, ...]], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the J judges, `trained` first."""
        return tuple(judge.name for _, judges in self.trunks for judge in judges)

    def with_heads(self, heads: Mapping[str, Head]) -> Judges:
        """Return these judges and further ones: other heads on the trained trunk, by name."""
        (session, near), *others = self.trunks
        more = (Judge(name, near[0].top, head) for name, head in heads.items())
        return replace(self, trunks=((session, (*near, *more)), *others))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of images, float32 (N, J, K); images as `OnnxClassifier.run` takes."""
        return self._each(images, _logits)

    def first(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of the trained network alone, float32 (N, K)."""
        return self._each(images, _logits, first=True)[:, 0]

    def heat_maps(self, images: np.ndarray, class_index: int) -> np.ndarray:
        """Return Grad-CAM of one class, float32 (N, J, h, w), at least 0, not normalised."""

        def maps(judge: Judge, feature_map: np.ndarray, _: np.ndarray) -> np.ndarray:
            index = np.full(len(feature_map), class_index)
            return replace(self.classifier, head=judge.head).heat_maps(feature_map, index)

        return self._each(images, maps)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return what the trained network pools, float32 (N, 1280)."""
        return self._each(images, lambda _, __, pooled: pooled, first=True)[:, 0]

    def _each(self, images: np.ndarray, look, *, first: bool = False) -> np.ndarray:
        """Look at the feature maps of each judge, and at their means: (N, J, …)."""
        if len(images) > AT_ONCE:
            parts = (images[at : at + AT_ONCE] for at in range(0, len(images), AT_ONCE))
            return np.concatenate([self._each(part, look, first=first) for part in parts])
        found = []
        for session, judges in self.trunks[:1] if first else self.trunks:
            below, maps = _run(session, images), {}
            with threadpool_limits(1):  # threads wait for each other longer than a head takes
                for judge in judges[:1] if first else judges:
                    key = id(judge.top)
                    if key not in maps:  # of each last convolution, once
                        feature_map = _feature_map(below, *judge.top)
                        maps[key] = feature_map, feature_map.mean(axis=(1, 2))
                    found.append(look(judge, *maps[key]))
        return np.stack(found, axis=1)


def judges_of(
    path: str | Path,
    *,
    stages: Sequence[str] = UPPER,
    seed: int = 0,
) -> Judges:
    """Return a trained network with its shuffled copies.

    Cascading randomisation (Adebayo et al., NeurIPS 2018): at each stage the weights of all layers
    from there up to the output are shuffled; what is below stays. A kernel keeps its numbers.

    Parameters
    ----------
    path : str or Path
        An exported model.
    stages : sequence of str
        Lowest layer or block that is shuffled: of `UPPER`, and for a copy of the whole trunk a
        block such as `block4a`, or `stem`. `hidden` is left out where the head has none.
    seed : int
        Of the shuffling; a layer is shuffled alike in all stages.

    Returns
    -------
    Judges
        Named `trained`, then the stages.

    Raises
    ------
    HematoVisionError
        Where the model cannot be loaded or has no such layer.
    """
    import onnx
    from onnx import numpy_helper

    classifier = OnnxClassifier.load(path)
    graph = onnx.load(str(path))
    stored = {
        tensor.name.removesuffix("/half"): numpy_helper.to_array(tensor).astype(np.float32)
        for tensor in graph.graph.initializer
    }
    node = next(node for node in graph.graph.node if PREFIX + TOP in node.input)
    top = stored[node.input[1]][:, :, 0, 0].T, stored[node.input[2]]
    first = Judge(TRAINED, top, classifier.head)
    dense = classifier.head
    mixed_head = [(_mixed(k, seed, f"head {at}"), bias) for at, (k, bias) in enumerate(dense)]
    mixed_top = _mixed(top[0], seed, TOP), top[1]
    upper = {
        "logits": Judge("logits", top, [*dense[:-1], mixed_head[-1]]),
        "hidden": Judge("hidden", top, mixed_head),
        "top": Judge("top", mixed_top, mixed_head),
    }
    if len(dense) == 1:
        del upper["hidden"]
    near = [upper[stage] for stage in stages if stage in upper]
    trunks = [(_trunk(graph, node.input[0]), (first, *near))]
    for stage in stages:
        if stage not in UPPER:
            mixed = _trunk(_shuffled_from(graph, stage, seed), node.input[0])
            trunks.append((mixed, (replace(upper["top"], name=stage),)))
    return Judges(classifier, tuple(trunks))


def taught_head(
    features: np.ndarray,
    labels_index: np.ndarray,
    *,
    n_classes: int,
    hidden: int = 128,
    passes: int = 30,
    seed: int = 0,
) -> Head:
    """Teach a head of the usual shape on features, without TensorFlow and without dropout.

    Parameters
    ----------
    features : numpy.ndarray, shape (N, D)
    labels_index : numpy.ndarray, shape (N,), int
        From 0 on; each of the K classes is there.
    n_classes : int
        K.
    hidden, passes : int
        Units of the hidden layer, and passes over the features.
    seed : int
        Of the first weights and the order of the images.

    Returns
    -------
    list of (kernel, bias)
        float32, two dense layers.
    """
    from sklearn.neural_network import MLPClassifier

    head = MLPClassifier((hidden,), batch_size=min(32, len(features)), random_state=seed)
    with threadpool_limits(1):
        for _ in range(passes):
            head.partial_fit(features, labels_index, classes=range(n_classes))
    layers = list(zip(head.coefs_, head.intercepts_, strict=True))
    if n_classes == 2:  # one output, for the second class
        kernel, bias = layers[-1]
        layers[-1] = np.hstack([0 * kernel, kernel]), np.append(0, bias)
    return [(kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in layers]


def _logits(judge: Judge, _: np.ndarray, features: np.ndarray) -> np.ndarray:
    return judge.logits(features)


def _run(session: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    with ThreadPoolExecutor(cores()) as pool:
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return np.concatenate(list(pool.map(lambda x: session.run(None, {INPUT: x})[0], batches)))


def _feature_map(below: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Compute the last convolution and its swish: (N, C, h, w) to (N, h, w, 1280)."""
    n, channels, height, width = below.shape
    x = below.transpose(0, 2, 3, 1).reshape(-1, channels) @ kernel + bias
    return (x * expit(x)).reshape(n, height, width, -1)


def _trunk(graph: onnx.ModelProto, end: str) -> onnxruntime.InferenceSession:
    """Open the part of a graph from the images to what comes into the last convolution."""
    from onnx import TensorProto, helper, utils

    whole = type(graph).FromString(graph.SerializeToString())
    whole.graph.value_info.append(helper.make_tensor_value_info(end, TensorProto.FLOAT, None))
    part = utils.Extractor(whole).extract_model([INPUT], [end])
    return open_session(part.SerializeToString())


def _mixed(kernel: np.ndarray, seed: int, layer: str) -> np.ndarray:
    rng = np.random.default_rng([seed, *layer.encode()])
    return rng.permutation(kernel.ravel()).reshape(kernel.shape)


def _shuffled_from(graph: onnx.ModelProto, block: str, seed: int) -> onnx.ModelProto:
    """Return a copy whose kernels are shuffled from a block up to the last convolution."""
    from onnx import numpy_helper

    copy = type(graph).FromString(graph.SerializeToString())
    inputs = [name for node in copy.graph.node if node.op_type == "Conv" for name in node.input]
    kernels = [name for name in inputs if name.startswith(PREFIX)]
    blocks = [name.removeprefix(PREFIX).split("_")[0] for name in kernels]
    if block not in blocks:
        raise HematoVisionError(
            f"expected a block of the network ({', '.join(dict.fromkeys(blocks))}), but got "
            f"{block!r}: check the stages"
        )
    chosen = set(kernels[blocks.index(block) :])
    for tensor in copy.graph.initializer:
        name = tensor.name.removesuffix("/half")
        if name in chosen:
            mixed = _mixed(numpy_helper.to_array(tensor), seed, name)
            tensor.CopyFrom(numpy_helper.from_array(mixed, tensor.name))
    return copy
