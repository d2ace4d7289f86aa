import keras
import numpy as np
import pandas as pd
import pytest

from hv_utils.network.checkpoints import (
    clear,
    describe_layers,
    fingerprint_settings,
    fingerprint_training,
    load_state,
    save_state,
)
from hv_utils.network.preprocessing import augmentation_layers


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def test_a_state_comes_back_and_older_weights_go(model, tmp_path):
    for rows in ([{"epoch": 1}], [{"epoch": 1}, {"epoch": 2}]):
        model.layers[0].set_weights([np.full((2, 1), float(len(rows))), np.zeros(1)])
        save_state(tmp_path, "last", model, rows=rows, fingerprint="a")
    model.layers[0].set_weights([np.zeros((2, 1)), np.zeros(1)])
    rows = load_state(tmp_path, "last", model, fingerprint="a")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert (model.layers[0].get_weights()[0] == 2).all()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "last-002.weights.h5",
        "last.json",
    ]


def test_what_does_not_apply_is_passed_over(model, tmp_path):
    assert load_state(tmp_path, "last", model, fingerprint="a") is None
    assert load_state(None, "last", model, fingerprint="a") is None
    save_state(None, "last", model, rows=[], fingerprint="a")
    save_state(tmp_path, "last", model, rows=[{"epoch": 1}], fingerprint="a")
    assert load_state(tmp_path, "last", model, fingerprint="other") is None
    (tmp_path / "last-001.weights.h5").write_bytes(b"cut off")
    assert load_state(tmp_path, "last", model, fingerprint="a") is None


def test_the_fingerprint_sees_settings_and_images():
    one = fingerprint_settings({"lr": 1}, ["a", "b"])
    assert one == fingerprint_settings({"lr": 1}, ["a", "b"])
    assert one != fingerprint_settings({"lr": 2}, ["a", "b"])
    assert one != fingerprint_settings({"lr": 1}, ["b", "a"])


def test_the_fingerprint_sees_where_a_training_starts_from(model):
    images = pd.DataFrame({"path": ["a", "b"], "label": ["x", "y"]})
    one = fingerprint_training(model, {"lr": 1}, images)
    assert one == fingerprint_training(model, {"lr": 1}, images)
    assert one != fingerprint_training(model, {"lr": 2}, images)
    assert one != fingerprint_training(model, {"lr": 1}, images.assign(label=["y", "x"]))
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5), *model.layers])
    assert one != fingerprint_training(other, {"lr": 1}, images)
    model.layers[0].set_weights([np.full((2, 1), 3.0), np.zeros(1)])
    assert one != fingerprint_training(model, {"lr": 1}, images)


def test_clear(model, tmp_path):
    folder = tmp_path / "checkpoint"
    save_state(folder, "last", model, rows=[{}], fingerprint="a")
    clear(folder)
    assert not folder.exists()
    clear(folder)


def test_the_same_augmentation_has_the_same_description_whenever_it_was_made():
    first, again, other = (augmentation_layers(seed=seed, stain=0.1) for seed in (0, 0, 1))
    assert describe_layers(first) == describe_layers(again)
    assert describe_layers(first) != describe_layers(other)
