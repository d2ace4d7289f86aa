import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from hv_utils.data.splits import LeakError
from hv_utils.ground.errors import HematoVisionError
from hv_utils.network import training
from hv_utils.network.model import predict_probs
from hv_utils.network.preprocessing import augmentation_layers, load_images
from hv_utils.network.training_steps import cosine_schedule, images_of_epoch

CLASSES = ["blue", "red"]
SIZE = (64, 64)
QUICK = {"classes": CLASSES, "batch_size": 8}
HEAD = QUICK | {"epochs": 2}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return train (12 blue, 4 red) and val (4 and 4) of discs, told apart by their colour."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)

    def table(name, counts):
        rows = []
        for label, count in counts.items():
            for number in range(count):
                image = Image.new("RGB", SIZE, "white")
                x, y, r = rng.integers((16, 16, 8), (48, 48, 16)).tolist()
                ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=label)
                path = folder / f"{name}-{label}-{number}.png"
                image.save(path)
                rows.append({"path": str(path), "label": label})
        return pd.DataFrame(rows)

    return table("train", {"blue": 12, "red": 4}), table("val", {"blue": 4, "red": 4})


def new_model():
    """Return a small network with the layer names of the real one: the mechanics are the same."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((*SIZE, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(8, 3, strides=4, name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.Conv2D(8, 3, strides=2, name="block7a_project_conv")(x)
    x = layers.BatchNormalization(name="block7a_project_bn")(x)
    x = layers.Conv2D(16, 1, name="top_conv")(x)
    x = layers.BatchNormalization(name="top_bn")(x)
    x = layers.Activation("swish", name="top_activation")(x)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dropout(0.1, seed=0)(x)
    x = layers.Dense(2, name="logits")(x)
    return keras.Model(inputs, layers.Activation("softmax")(x))


def loss(model, table):
    probs = predict_probs(model, list(table["path"]))
    right = probs[np.arange(len(table)), (table["label"] == "red").astype(int)]
    return -np.log(right + 1e-7).mean()


def test_the_head_learns_and_the_backbone_stays(tables):
    model = new_model()
    frozen = model.get_layer("top_conv").get_weights()[0]
    train, val = tables
    history = training.train_head(model, train, val, epochs=40, learning_rate=0.05, **QUICK)
    np.testing.assert_array_equal(model.get_layer("top_conv").get_weights()[0], frozen)
    best = history[history["best"]].iloc[0]
    assert history["best"].sum() == 1
    assert best["val_loss"] == history["val_loss"].min()
    assert best["val_macro_f1"] == 1.0
    assert loss(model, val) == pytest.approx(best["val_loss"], abs=1e-3), "the best was kept"


@pytest.mark.parametrize("phase", [training.train_head, training.fine_tune])
def test_no_phase_takes_a_cell_that_is_on_both_sides(tables, phase):
    train, val = (table.assign(cell="00007") for table in tables)
    with pytest.raises(LeakError, match="photo 00007 is in train and val"):
        phase(None, train, val, classes=CLASSES)


def test_training_twice_gives_the_same(tables):
    histories = []
    for _ in range(2):
        model = new_model()
        histories.append(training.train_head(model, *tables, **HEAD)["loss"].tolist())
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)


def test_an_interrupted_fine_tuning_goes_on_where_it_stopped(tables, tmp_path, monkeypatch):
    options = QUICK | {"from_block": "top", "epochs": 3, "patience": 9, "checkpoint": tmp_path}
    model = new_model()
    training.train_head(model, *tables, checkpoint=tmp_path, **HEAD)

    def power_cut(row, epochs):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "print_row", power_cut)
    with pytest.raises(KeyboardInterrupt):
        training.fine_tune(model, *tables, **options)
    monkeypatch.undo()

    trained = []
    monkeypatch.setattr(training, "print_row", lambda row, epochs: trained.append(row["epoch"]))
    model = new_model()
    head = training.train_head(model, *tables, checkpoint=tmp_path, **HEAD)
    assert head["phase"].eq("head").all()
    assert trained == [], "the head is not trained again"
    history = training.fine_tune(model, *tables, **options)
    assert trained == [3], "only the missing epoch is trained"
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["best"].sum() == 1
    kept = history.loc[history["best"], "val_loss"].iloc[0]
    assert loss(model, tables[1]) == pytest.approx(kept, abs=1e-3), "the best was kept"

    model = new_model()
    training.train_head(model, *tables, checkpoint=tmp_path, **HEAD)
    again = training.fine_tune(model, *tables, **options)
    assert trained == [3], "a finished training is not repeated"
    assert again["epoch"].tolist() == [1, 2, 3]


def test_a_training_from_other_weights_does_not_go_on_from_these(tables, tmp_path):
    training.train_head(new_model(), *tables, checkpoint=tmp_path, **HEAD)
    model = new_model()
    top = model.get_layer("top_conv")
    other, bias = top.get_weights()[0] + 0.01, top.get_weights()[1]
    top.set_weights([other, bias])
    training.train_head(model, *tables, checkpoint=tmp_path, **HEAD)
    np.testing.assert_array_equal(top.get_weights()[0], other)


def test_fine_tuning_changes_what_lies_above_the_block_and_nothing_below(tables):
    model = new_model()
    low, high = (model.get_layer(name) for name in ("block7a_project_conv", "top_conv"))
    norm_low, norm_high = (model.get_layer(name) for name in ("block7a_project_bn", "top_bn"))
    before = [x.get_weights() for x in (low, norm_low, high, norm_high)]
    augment = augmentation_layers(seed=0)
    training.fine_tune(model, *tables, from_block="top", epochs=1, augment=augment, **QUICK)
    after = [x.get_weights() for x in (low, norm_low, high, norm_high)]
    same = [all(map(np.array_equal, a, b)) for a, b in zip(before, after, strict=True)]
    assert same == [True, True, False, False]


def test_batch_norms_are_measured_on_images_as_they_are(tables):
    bright = keras.Sequential([keras.layers.Rescaling(0.0, 255.0)])
    means = []
    for count in (0, 16):
        model = new_model()
        options = {"from_block": "stem", "epochs": 1, "augment": bright, **QUICK}
        training.fine_tune(model, *tables, norm_images=count, **options)
        images = load_images(tables[0]["path"], size=SIZE)
        mean = keras.Model(model.input, model.get_layer("stem_conv").output)(images).numpy()
        stored = model.get_layer("stem_bn").moving_mean.numpy()
        means.append(float(np.abs(stored - mean.mean(axis=(0, 1, 2))).mean()))
    assert means[1] < means[0] / 2, "nearer to the plain images than to the white ones"


def test_a_fine_tuning_that_harms_leaves_the_model_as_it_was(tables):
    model = new_model()
    training.train_head(model, *tables, epochs=40, learning_rate=0.05, **QUICK)
    before = loss(model, tables[1])
    history = training.fine_tune(
        model, *tables, from_block="stem", epochs=3, patience=1, learning_rate=1e4, **QUICK
    )
    assert len(history) == 1, "patience counts from the start"
    assert not history["best"].any()
    assert loss(model, tables[1]) == pytest.approx(before, abs=1e-3)


def test_unfreeze(tables):
    model = new_model()
    training.unfreeze(model, "block7a")
    assert model.get_layer("block7a_project_bn").trainable
    assert not model.get_layer("stem_bn").trainable
    training.unfreeze(model, "stem")
    assert model.get_layer("stem_bn").trainable
    assert model.get_layer("stem_bn").momentum == 0.9
    with pytest.raises(HematoVisionError, match="block8a"):
        training.unfreeze(model, "block8a")


def test_an_image_comes_back_only_after_all_others():
    passes = [images_of_epoch(10, 4, epoch, seed=0) for epoch in range(1, 6)]
    seen = np.concatenate(passes)
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert sorted(images_of_epoch(5, 5, 3, seed=1)) == list(range(5))


def test_the_learning_rate_climbs_and_falls():
    schedule = cosine_schedule(0.01, 100)
    rates = [float(schedule(step)) for step in range(101)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(0.01)
    assert np.argmax(rates) == 10
    assert rates[-1] == pytest.approx(0, abs=1e-8)
    assert (np.diff(rates[10:]) <= 0).all()
