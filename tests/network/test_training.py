import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw

from hv_utils.data.splits import LeakError
from hv_utils.ground.errors import HematoVisionError
from hv_utils.network import model as model_module
from hv_utils.network import training
from hv_utils.network.course import class_weights, cosine_schedule, image_orders
from hv_utils.network.model import predict_probs
from hv_utils.network.preprocessing import load_images
from hv_utils.network.settings import FineTuning, HeadTraining
from hv_utils.network.weights import draw_kernels, seed_dropouts

pytestmark = pytest.mark.filterwarnings("ignore:Even though the")  # tf.data stays a graph

CLASSES = ["blue", "red"]
SIZE = (64, 64)
HEAD = HeadTraining(epochs=2, batch_size=8)
LEARNING = HeadTraining(epochs=40, learning_rate=0.05, batch_size=8)
TUNING = FineTuning(from_block="top", epochs=3, patience=9, batch_size=8)


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


def keras_outputs(model, name, paths, *_):
    """Compute the outputs of the small network below: the ONNX graph is EfficientNetB0's."""
    layer = {"features": "avg_pool", "probabilities": model.layers[-1].name}[name]
    part = keras.Model(model.input, model.get_layer(layer).output)
    return np.asarray(part(load_images(paths, size=SIZE).astype(np.float32), training=False))


def keras_parts(model, block):
    """Part the small network as `model.part_below` parts the real one."""
    if block == "stem":
        return None
    first = model.layers[model_module.first_layer_of(block, model)]
    below = keras.Model(model.input, first.input)
    return lambda images: np.asarray(below(images)), keras.Model(first.input, model.output)


@pytest.fixture(autouse=True)
def small_network():
    """Train the small network, step by step: a graph takes longer to trace than it has to run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_module, "_outputs", keras_outputs)
        patch.setattr(training, "part_below", keras_parts)
        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)


def new_model():
    """Return a small network with the layer names of the real one: the mechanics are the same."""
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
    x = layers.Dropout(0.1)(x)
    x = layers.Dense(2, name="logits")(x)
    model = keras.Model(inputs, layers.Activation("softmax")(x))
    draw_kernels(model, seed=0)
    seed_dropouts(model, seed=0)
    return model


def train_head(model, tables, settings=HEAD, **options):
    return training.train_head(model, *tables, settings, classes=CLASSES, **options)


def fine_tune(model, tables, settings=TUNING, **options):
    return training.fine_tune(model, *tables, settings, classes=CLASSES, **options)


def loss(model, table):
    probs = predict_probs(model, list(table["path"]))
    right = probs[np.arange(len(table)), (table["label"] == "red").astype(int)]
    return -np.log(right + 1e-7).mean()


def test_the_head_learns_and_the_backbone_stays(tables):
    model = new_model()
    frozen = model.get_layer("top_conv").get_weights()[0]
    history = train_head(model, tables, LEARNING)
    np.testing.assert_array_equal(model.get_layer("top_conv").get_weights()[0], frozen)
    best = history[history["best"]].iloc[0]
    assert history["best"].sum() == 1
    assert best["val_loss"] == history["val_loss"].min()
    assert best["val_macro_f1"] == 1.0
    assert loss(model, tables[1]) == pytest.approx(best["val_loss"], abs=1e-3), "the best was kept"


@pytest.mark.parametrize("phase", [train_head, fine_tune])
def test_no_phase_takes_a_cell_that_is_on_both_sides(tables, phase):
    with pytest.raises(LeakError, match="photo 00007 is in train and val"):
        phase(None, [table.assign(cell="00007") for table in tables])


AUGMENTED = replace(TUNING, from_block="stem", augment={"stain": 0.1}, norm_images=4)


def variables(model):
    """Return all that a training changes but the optimiser's state."""
    return [variable.numpy() for variable in model.variables]


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def both_phases(tables, folder, tuning=AUGMENTED):
    model = new_model()
    histories = [
        train_head(model, tables, checkpoint=folder),
        fine_tune(model, tables, tuning, checkpoint=folder),
    ]
    return model, pd.concat(histories).drop(columns="seconds").reset_index(drop=True)


def cut_the_power(monkeypatch, epoch):
    """Let the training stop as a kill would stop it, when it has told of an epoch."""

    def power_cut(row, epochs):
        if (row["phase"], row["epoch"]) == ("fine-tuning", epoch):
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "print_row", power_cut)


@pytest.mark.parametrize("images", [0, 10])
def test_an_interrupted_training_ends_where_an_uninterrupted_one_ends(
    tables, tmp_path, monkeypatch, images
):
    tuning = replace(AUGMENTED, images_per_epoch=images)
    straight, whole = both_phases(tables, None, tuning)
    assert whole["best"].sum() == 2, "a later epoch is the best, so there is something to compare"
    for epoch in (1, 2):
        cut_the_power(monkeypatch, epoch)
        with pytest.raises(KeyboardInterrupt):
            both_phases(tables, tmp_path, tuning)
        monkeypatch.undo()
    trained = []
    monkeypatch.setattr(training, "print_row", lambda row, epochs: trained.append(row["epoch"]))
    resumed, history = both_phases(tables, tmp_path, tuning)
    assert trained == [3], "what is there is not trained again"
    pd.testing.assert_frame_equal(history, whole, check_exact=True)
    assert_same(variables(resumed), variables(straight))
    again, _ = both_phases(tables, tmp_path, tuning)
    assert trained == [3], "a finished training is not repeated"
    assert_same(again.get_weights(), straight.get_weights())


def test_a_training_that_ran_out_of_patience_is_not_taken_up_again(tables, tmp_path):
    harmful = replace(TUNING, patience=1, learning_rate=1e4)
    first, again = (fine_tune(new_model(), tables, harmful, checkpoint=tmp_path) for _ in range(2))
    assert first["seconds"].tolist() == again["seconds"].tolist()


SAME_AGAIN = """
import hashlib, os, signal, sys
import keras, numpy as np, pandas as pd
sys.path.insert(0, {here!r})
import test_training as this
from hv_utils.network import course

folder, kill_after = sys.argv[1], int(sys.argv[2])
keras.utils.set_random_seed(os.getpid())  # what others draw is no matter
tables = [pd.read_pickle(os.path.join(folder, name)) for name in ("train", "val")]
save = course.save_state
this.model_module._outputs = this.keras_outputs


def save_and_die(*state):
    save(*state)
    if state[2][-1]["epoch"] == kill_after:
        os.kill(os.getpid(), signal.SIGKILL)


course.save_state = save_and_die
model, history = this.both_phases(tables, os.path.join(folder, "checkpoints", sys.argv[3]))
digest = hashlib.sha256(b"".join(np.ascontiguousarray(each) for each in model.get_weights()))
print("weights", digest.hexdigest())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_the_same_command_gives_the_same_weights_in_another_process_even_after_kill_9(
    tables, tmp_path
):
    for name, table in zip(("train", "val"), tables, strict=True):
        table.to_pickle(tmp_path / name)

    def start(kill_after, checkpoint):
        code = SAME_AGAIN.format(here=str(Path(__file__).parent))
        command = [sys.executable, "-c", code, str(tmp_path), str(kill_after), checkpoint]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def weights(process):
        out, _ = process.communicate()
        return process.returncode, [line for line in out.splitlines() if "weights" in line]

    straight, killed = start(0, "straight"), start(2, "killed")
    assert weights(killed) == (-signal.SIGKILL, [])
    code, found = weights(start(0, "killed"))
    assert code == 0
    assert len(found) == 1
    assert weights(straight) == (0, found)


def test_a_training_from_other_weights_does_not_go_on_from_these(tables, tmp_path):
    train_head(new_model(), tables, checkpoint=tmp_path)
    model = new_model()
    top = model.get_layer("top_conv")
    other, bias = top.get_weights()[0] + 0.01, top.get_weights()[1]
    top.set_weights([other, bias])
    train_head(model, tables, checkpoint=tmp_path)
    np.testing.assert_array_equal(top.get_weights()[0], other)


def test_fine_tuning_changes_what_lies_above_the_block_and_nothing_below(tables):
    model = new_model()
    low, high = (model.get_layer(name) for name in ("block7a_project_conv", "top_conv"))
    norm_low, norm_high = (model.get_layer(name) for name in ("block7a_project_bn", "top_bn"))
    before = [x.get_weights() for x in (low, norm_low, high, norm_high)]
    fine_tune(model, tables, replace(TUNING, epochs=1, augment={}))
    after = [x.get_weights() for x in (low, norm_low, high, norm_high)]
    same = [all(map(np.array_equal, a, b)) for a, b in zip(before, after, strict=True)]
    assert same == [True, True, False, False]


def test_batch_norms_are_measured_on_images_as_they_are(tables):
    shifted = {"shift": 0.9}  # nearly all of it black
    means = []
    for count in (0, 16):
        model = new_model()
        tuning = replace(TUNING, from_block="stem", epochs=1, augment=shifted, norm_images=count)
        fine_tune(model, tables, tuning)
        images = load_images(tables[0]["path"], size=SIZE)
        mean = keras.Model(model.input, model.get_layer("stem_conv").output)(images).numpy()
        stored = model.get_layer("stem_bn").moving_mean.numpy()
        means.append(float(np.abs(stored - mean.mean(axis=(0, 1, 2))).mean()))
    assert means[1] < means[0] / 2, "nearer to the plain images than to the black ones"


def test_a_fine_tuning_that_harms_leaves_the_model_as_it_was(tables):
    model = new_model()
    train_head(model, tables, LEARNING)
    before = loss(model, tables[1])
    harmful = replace(TUNING, from_block="stem", patience=1, learning_rate=1e4)
    history = fine_tune(model, tables, harmful)
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
    seen = image_orders(10, 4, 5, seed=0)
    assert seen.shape == (5, 4)
    seen = seen.ravel()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert all(sorted(order) == list(range(5)) for order in image_orders(5, 9, 3, seed=1))
    assert image_orders(5, 0, 0, seed=1).shape == (0, 5)
    assert image_orders(5, 0, 1, seed=1).tolist() != image_orders(5, 0, 1, seed=2).tolist()


def test_class_weights_balance():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = class_weights(labels)
    totals = [weight * (labels == label).sum() for label, weight in weights.items()]
    assert totals == pytest.approx([10 / 3] * 3)


def test_the_learning_rate_climbs_and_falls():
    schedule = cosine_schedule(0.01, 100)
    rates = [float(schedule(step)) for step in range(101)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(0.01)
    assert np.argmax(rates) == 10
    assert rates[-1] == pytest.approx(0, abs=1e-8)
    assert (np.diff(rates[10:]) <= 0).all()


def test_validation_images_are_computed_anew_where_they_are_too_many_to_keep(tables, monkeypatch):
    kept = fine_tune(new_model(), tables)["val_loss"]
    monkeypatch.setattr(training, "KEPT_BYTES", 0)
    np.testing.assert_allclose(fine_tune(new_model(), tables)["val_loss"], kept, rtol=1e-4)
