"""Measure HematoVision against the usual ways, side by side in one run, and print the ratios.

    python scripts/bench.py [--model runs/demo/model.keras] [--json results/bench.json]

(a) image files to labels: `hv predict`'s way, Keras `predict` in batches, and loading and
    predicting one image at a time; (b) the start of the command; (c) phase 1 on cached features
    against fitting with the backbone frozen; (d) augmentation by our layers against
    ImageDataGenerator. Without --model an untrained one is made: the speed is the same.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from hv_utils.drawn.smear import draw_photo
from hv_utils.ground.files import cores, dump_json, write_text
from hv_utils.ground.runs import environment
from hv_utils.images.labels import CLASSES
from hv_utils.inference.predict import TRAVELLING_MODEL, open_classifier, predict_rows
from hv_utils.inference.preparation import preparation_of
from hv_utils.network.export import export_model
from hv_utils.network.model import build_model, load_model, save_model
from hv_utils.network.preprocessing import (
    augmentation_layers,
    batches,
    image_data_generator,
    load_images,
)
from hv_utils.network.settings import HeadTraining
from hv_utils.network.training import train_head

TURNS = 5
LOADS = 3
FILES = 192
PHASE_ONE = (320, 64)  # training and validation images; the real phase 1 has thousands


def draw_files(folder: Path, count: int) -> pd.DataFrame:
    """Draw photos, save them as 320x240 JPEG as the data set does, and return an image table."""
    rows = []
    for number in range(count):
        label = CLASSES[number % len(CLASSES)]
        photo = draw_photo(label, rng=np.random.default_rng(number))
        path = folder / f"{number:03d}.jpeg"
        Image.fromarray(photo.image).resize((320, 240)).save(path, quality=95)
        rows.append({"path": str(path), "label": label})
    return pd.DataFrame(rows)


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Return the median wall time of `work`, in seconds."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def seconds_in_turn(*works: Callable[[], Any], repeats: int = TURNS) -> list[float]:
    """Return the median wall time of each work, done in turn so that a slow minute strikes all."""
    taken = np.array([[seconds(work, 1) for work in works] for _ in range(repeats)])
    return np.median(taken, axis=0).tolist()


def files_to_labels(keras_path: Path, onnx_path: Path, files: list[str]) -> dict[str, float]:
    """Measure (a): images per second from file to label, each way after a warm-up.

    A loaded Keras model runs at one of two speeds, nearly twice apart, as luck will have it; of
    several loaded ones the fastest stands for it.
    """
    import keras

    classify, meta = open_classifier(onnx_path)
    models = [load_model(keras_path)[0] for _ in range(LOADS)]
    size = tuple(meta["size"])
    options = {"classes": meta["classes"], "size": size, "workers": meta["workers"]}

    def ours() -> None:
        list(predict_rows([Path(file) for file in files], classify, batch_size=4, **options))

    cells, known = open_classifier(TRAVELLING_MODEL)
    sought = {"classes": known["classes"], "size": tuple(known["size"])}
    sought |= {"prepare": preparation_of(known), "workers": known["workers"]}

    def ours_with_finder() -> None:
        list(predict_rows([Path(file) for file in files], cells, batch_size=4, **sought))

    def in_batches(model: keras.Model) -> Callable[[], Any]:
        return lambda: model.predict(batches(files, size=size, batch_size=32), verbose=0)

    few = files[:24]

    def one_by_one() -> None:
        for file in few:
            image = keras.utils.img_to_array(keras.utils.load_img(file, target_size=size))
            models[0].predict(image[None], verbose=0)

    works = ours, one_by_one, ours_with_finder, *map(in_batches, models)
    for work in works:
        work()
    taken = seconds_in_turn(*works)
    rates = {
        "hv_predict": len(files) / taken[0],
        "keras_batches": len(files) / min(taken[3:]),
        "keras_batches_slowest": len(files) / max(taken[3:]),
        "keras_one_by_one": len(few) / taken[1],
        "hv_predict_finder": len(files) / taken[2],
    }
    return {
        **{f"{name}_images_per_s": rate for name, rate in rates.items()},
        "ratio_batches": rates["hv_predict"] / rates["keras_batches"],
        "ratio_finder": rates["hv_predict_finder"] / rates["keras_batches"],
        "ratio_one_by_one": rates["hv_predict"] / rates["keras_one_by_one"],
    }


WITH_KERAS = """
import sys
import keras
model = keras.saving.load_model(sys.argv[1])
image = keras.utils.load_img(sys.argv[2], target_size=model.input_shape[1:3])
print(model.predict(keras.utils.img_to_array(image)[None], verbose=0).argmax())
"""


def start_of_command(keras_path: Path, onnx_path: Path, file: str) -> dict[str, float]:
    """Measure (b): wall time of a whole `hv predict FILE`, process start included."""

    def start(*words: str) -> Callable[[], Any]:
        environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, *words]
        return lambda: subprocess.run(command, check=True, capture_output=True, env=environ)

    own = start("-m", "hv_utils.cli", "predict", file, "--model", str(onnx_path))
    ours, keras = seconds(own, 5), seconds(start("-c", WITH_KERAS, str(keras_path), file), 1)
    return {"hv_predict_s": ours, "with_keras_s": keras, "ratio": keras / ours}


def phase_one(table: pd.DataFrame, epochs: int) -> dict[str, float]:
    """Measure (c): the head's epochs on cached features, or through the frozen backbone."""
    train, val = table.iloc[: PHASE_ONE[0]], table.iloc[PHASE_ONE[0] :]

    def cached() -> None:
        model = build_model(len(CLASSES), weights="lite0")
        settings = HeadTraining(epochs=epochs, patience=epochs, calibration_images=0)
        with redirect_stdout(io.StringIO()):
            train_head(model, train, val, settings, classes=list(CLASSES))

    def frozen() -> None:
        model = build_model(len(CLASSES), weights="lite0")
        for layer in model.layers[:-5]:
            layer.trainable = False
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        parts = [
            batches(list(part["path"]), [CLASSES.index(label) for label in part["label"]])
            for part in (train, val)
        ]
        model.fit(parts[0], validation_data=parts[1], epochs=epochs, verbose=0)

    ours, theirs = seconds(cached, 1), seconds(frozen, 1)
    return {
        "epochs": epochs,
        "n_images": len(train),
        "cached_s": ours,
        "frozen_s": theirs,
        "ratio": theirs / ours,
    }


def augmentation(files: list[str]) -> dict[str, float]:
    """Measure (d): augmented images per second, 224x224, decoded beforehand, in batches of 32."""
    import tensorflow as tf

    images = load_images(files).astype(np.float32)
    layers = augmentation_layers(seed=0)
    generator = image_data_generator()
    augment = tf.function(lambda batch: layers(batch, training=True))

    def ours() -> None:
        dataset = tf.data.Dataset.from_tensor_slices(images).batch(32).map(augment)
        for batch in dataset.prefetch(2):
            batch.numpy()

    def theirs() -> None:
        flow = generator.flow(images, batch_size=32, shuffle=False, seed=0)
        for index in range(len(flow)):
            flow[index]

    for work in (ours, theirs):
        work()
    rates = [len(images) / taken for taken in seconds_in_turn(ours, theirs)]
    return {
        "layers_images_per_s": rates[0],
        "generator_images_per_s": rates[1],
        "ratio": rates[0] / rates[1],
    }


def measure(keras_path: Path | None, *, epochs: int) -> dict[str, Any]:
    """Run all four comparisons; without a model one is made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = draw_files(folder, max(FILES, sum(PHASE_ONE)))
        files = list(table["path"])[:FILES]
        if keras_path is None:
            keras_path = folder / "model.keras"
            model = build_model(len(CLASSES), weights="lite0")
            save_model(model, keras_path, classes=CLASSES)
        onnx_path = export_model(keras_path, folder / "model.onnx")
        facts = environment()
        return {
            "machine": {**facts["machine"], "cores_used": cores()},
            "packages": facts["packages"],
            "onnx_mb": onnx_path.stat().st_size / 1e6,
            "load_average_before": os.getloadavg()[0],
            "files_to_labels": files_to_labels(keras_path, onnx_path, files),
            "start": start_of_command(keras_path, onnx_path, files[0]),
            "phase_one": phase_one(table, epochs),
            "augmentation": augmentation(files),
        }


def report(found: dict[str, Any]) -> str:
    """Return the measurements as lines for a person."""
    a, b, c, d = (found[x] for x in ("files_to_labels", "start", "phase_one", "augmentation"))
    machine = found["machine"]
    return "\n".join(
        [
            f"{machine['processor']}, {machine['cores_used']} cores, {machine['system']}",
            "(a) files to labels, images/s: hv predict "
            f"{a['hv_predict_images_per_s']:.0f}, Keras in batches "
            f"{a['keras_batches_images_per_s']:.0f} ({a['ratio_batches']:.1f}x), one by one "
            f"{a['keras_one_by_one_images_per_s']:.0f} ({a['ratio_one_by_one']:.1f}x)",
            f"(b) the command's first verdict: {b['hv_predict_s']:.2f} s; with Keras "
            f"{b['with_keras_s']:.1f} s ({b['ratio']:.1f}x)",
            f"(c) phase 1, {c['epochs']} epochs of {c['n_images']} images: {c['cached_s']:.1f} s; "
            f"backbone frozen {c['frozen_s']:.1f} s ({c['ratio']:.1f}x)",
            f"(d) augmentation, images/s: layers {d['layers_images_per_s']:.0f}, "
            f"ImageDataGenerator {d['generator_images_per_s']:.0f} ({d['ratio']:.1f}x)",
        ]
    )


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a trained model.keras")
    parser.add_argument("--epochs", type=int, default=20, help="of phase 1 (default 20)")
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    options = parser.parse_args()
    found = measure(options.model, epochs=options.epochs)
    print(report(found))
    if options.json:
        write_text(options.json, dump_json(found))


if __name__ == "__main__":
    main()
