"""The graph that is written computes what Keras computes, whatever the size and the start."""

import keras
import numpy as np
import pytest

from hv_utils.inference.onnx_model import INPUT, open_session
from hv_utils.network.model import build_model
from hv_utils.network.onnx_graph import PREFIX, layer_weights, write_graph

OUTPUTS = ["feature_map", "features", "logits", "probabilities"]


def learnt(size, hidden):
    """Return a model in which everything that starts as a constant has moved."""
    model = build_model(3, size=size, weights="lite0", hidden=hidden, seed=1)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith(("se_expand", "se_reduce", "logits", "hidden")):
            kernel, bias = layer.get_weights()
            moved = rng.normal(0, 0.1, bias.shape)
            layer.set_weights([rng.normal(0, 0.1, kernel.shape), bias + moved])
    return model


@pytest.mark.parametrize(("size", "hidden"), [((64, 96), 16), ((45, 67), 0)])
def test_every_output_is_that_of_keras(size, hidden):
    model = learnt(size, hidden)
    graph = write_graph(layer_weights(model), size=size, outputs=OUTPUTS)
    images = np.random.default_rng(1).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    found = open_session(graph.SerializeToString()).run(OUTPUTS, {INPUT: images})
    layers = ["top_activation", "avg_pool", "logits", "probabilities"]
    reference = keras.Model(model.input, [model.get_layer(name).output for name in layers])
    expected = reference(images.astype(np.float32), training=False)
    for name, ours, theirs in zip(OUTPUTS, found, expected, strict=True):
        assert np.ptp(ours, axis=0).max() > 1e-3, f"{name}: images differ"
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max(), err_msg=name)
        (declared,) = [value for value in graph.graph.output if value.name == name]
        shape = [one.dim_value for one in declared.type.tensor_type.shape.dim[1:]]
        assert tuple(shape) == ours.shape[1:]


def test_what_happens_to_the_pixels_first_is_two_numbers_a_channel():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Rescaling(1 / 255, offset=0.1)(inputs)
    x = keras.layers.Normalization(mean=[0.2, 0.5, 0.7], variance=[0.1, 0.04, 0.0])(x)
    model = keras.Model(inputs, keras.layers.Rescaling([1.0, 2.0, 3.0])(x))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.float32)
    weights = layer_weights(model)
    found = pixels * weights["input/scale"] + weights["input/offset"]
    expected = np.asarray(model(pixels))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_kernels_are_named_after_their_layers():
    model = learnt((32, 32), 16)
    graph = write_graph(layer_weights(model), size=(32, 32), outputs=["logits"])
    named = {t.name for t in graph.graph.initializer if t.name.startswith(PREFIX)}
    kernels = {x.name for x in model.layers for w in x.weights if len(w.shape) > 1}
    assert named == {PREFIX + name for name in kernels}
    backbone = write_graph(layer_weights(model), size=(32, 32), outputs=["features"])
    assert [value.name for value in backbone.graph.output] == ["features"]
