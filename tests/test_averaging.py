"""The mean of two models: taken where validation prefers it, refused where they do not fit."""

import keras
import numpy as np
import pytest
from test_training import CLASSES, SIZE, loss, new_model, tables  # noqa: F401 (a fixture)

from hv_utils.averaging import average_with
from hv_utils.errors import HematoVisionError
from hv_utils.model import save_model


@pytest.fixture
def tilted(tmp_path):
    """Return a function that makes a model lean to a class, saves it, and returns both."""

    def make(lean, name="other.keras", classes=CLASSES):
        model = new_model()
        kernel, bias = model.get_layer("logits").get_weights()
        model.get_layer("logits").set_weights([kernel * 0, bias + np.array([lean, -lean])])
        return model, save_model(model, tmp_path / name, classes=classes)

    return make


def weights_of(model):
    return model.get_layer("logits").get_weights()[1]


def test_the_mean_is_kept_where_it_is_better(tilted, tables):  # noqa: F811
    model, _ = tilted(3.0)
    _, other = tilted(-3.0)
    found = average_with(model, other, *tables, classes=CLASSES)
    assert found["kept"]
    np.testing.assert_allclose(weights_of(model), 0, atol=1e-6)
    assert found["averaged"]["val_loss"] == pytest.approx(np.log(2), abs=1e-3)
    assert found["averaged"]["val_loss"] == pytest.approx(loss(model, tables[1]), abs=1e-3)
    assert found["alone"]["val_loss"] > 2


def test_else_the_model_stays_as_it_was(tilted, tables):  # noqa: F811
    model, _ = tilted(0.0)
    before = model.get_weights()
    _, other = tilted(5.0)
    assert not average_with(model, other, *tables, classes=CLASSES)["kept"]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_batch_norms_are_measured_and_not_averaged(tilted, tables):  # noqa: F811
    model, _ = tilted(3.0)
    _, other = tilted(-3.0)
    average_with(model, other, *tables, classes=CLASSES)
    assert np.abs(model.get_layer("stem_bn").moving_mean.numpy()).max() > 1e-3, "both had zeros"


def test_a_model_of_another_kind_is_refused(tilted, tables, tmp_path):  # noqa: F811
    model, _ = tilted(0.0)
    _, other = tilted(0.0, classes=["green", "red"])
    with pytest.raises(HematoVisionError, match="same classes"):
        average_with(model, other, *tables, classes=CLASSES)
    inputs = keras.Input((*SIZE, 3))
    small = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    path = save_model(small, tmp_path / "small.keras", classes=CLASSES)
    with pytest.raises(HematoVisionError, match="same classes"):
        average_with(model, path, *tables, classes=CLASSES)
    with pytest.raises(HematoVisionError, match="nothing is at"):
        average_with(model, tmp_path / "none.keras", *tables, classes=CLASSES)
