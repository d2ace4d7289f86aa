from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from hv_utils.network.checkpoints import (
    checkpoint_file,
    clear,
    fingerprint_settings,
    load_state,
    save_state,
)
from hv_utils.network.settings import FineTuning, HeadTraining

ROWS = [{"epoch": 1, "val_loss": 0.1}]


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])


def test_a_state_comes_back(model, tmp_path):
    file = tmp_path / "state.npz"
    model(np.ones((1, 2)), training=True)
    saved = [variable.numpy() for variable in model.variables]
    save_state(file, model.variables, ROWS, best=model.get_weights())
    model(np.ones((1, 2)), training=True)
    model.layers[-1].set_weights([np.zeros((2, 1)), np.ones(1)])
    rows, best = load_state(file, model.variables)
    assert rows == ROWS
    for variable, value in zip(model.variables, saved, strict=True):
        np.testing.assert_array_equal(variable, value, variable.path)
    np.testing.assert_array_equal(best[0], model.get_weights()[0])
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"], "nothing else is left"


def test_without_a_file_nothing_is_kept(model, tmp_path):
    assert checkpoint_file(None, HeadTraining(), model, pd.DataFrame(), ["x"]) is None
    save_state(None, model.variables, ROWS)
    assert load_state(None, model.variables) is None
    assert load_state(tmp_path / "none.npz", model.variables) is None


@pytest.mark.parametrize("damage", ["cut off", "one byte", "no archive"])
def test_a_damaged_state_is_told_and_leaves_the_model_alone(model, tmp_path, capsys, damage):
    file = tmp_path / "state.npz"
    save_state(file, model.variables, ROWS)
    data = bytearray(file.read_bytes())
    at = data.index(model.get_weights()[0].tobytes())
    data[at] ^= 1
    parts = {"cut off": data[: len(data) // 2], "one byte": data, "no archive": b"text"}
    file.write_bytes(parts[damage])
    model.layers[-1].set_weights([np.full((2, 1), 7.0), np.zeros(1)])
    assert load_state(file, model.variables) is None
    assert "damaged" in capsys.readouterr().out
    assert (model.get_weights()[0] == 7).all()


def test_the_fingerprint_sees_settings_and_images():
    one = fingerprint_settings({"lr": 1}, ["a", "b"])
    assert one == fingerprint_settings({"lr": 1}, ["a", "b"])
    assert one != fingerprint_settings({"lr": 2}, ["a", "b"])
    assert one != fingerprint_settings({"lr": 1}, ["b", "a"])


def test_another_training_has_another_file(model, tmp_path):
    images = pd.DataFrame({"path": ["a", "b"], "label": ["x", "y"]})
    settings = FineTuning(augment={"zoom": 0.1})

    def file(settings=settings, model=model, images=images, classes=("x", "y")):
        return checkpoint_file(tmp_path, settings, model, images, classes)

    one = file()
    assert one == file()
    others = [
        file(replace(settings, seed=1)),
        file(replace(settings, augment={"zoom": 0.2})),
        file(replace(settings, augment=None)),
        file(HeadTraining()),
        file(images=images.assign(label=["y", "x"])),
        file(classes=("y", "x")),
        file(model=keras.Sequential([keras.Input((2,)), *model.layers[1:]])),
    ]
    model(np.ones((1, 2)), training=True)
    others.append(file())  # dropout has drawn
    model.layers[-1].set_weights([np.full((2, 1), 3.0), np.zeros(1)])
    others.append(file())
    assert len({one, *others}) == 10


def test_clear(model, tmp_path):
    folder = tmp_path / "checkpoint"
    save_state(folder / "state.npz", model.variables, ROWS)
    clear(folder)
    assert not folder.exists()
    clear(folder)
