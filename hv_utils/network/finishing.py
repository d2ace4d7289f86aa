"""After training: the model exported, calibrated and given the thresholds of `hv predict`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores
from hv_utils.ground.predictions import label_index
from hv_utils.ground.runs import Run
from hv_utils.inference.familiarity import FACT as DISTANCES
from hv_utils.inference.familiarity import Familiarity
from hv_utils.inference.novelty import QUANTILE, fit_novelty
from hv_utils.inference.onnx_model import OnnxClassifier, arrays_path
from hv_utils.inference.sets import FACT as SETS
from hv_utils.inference.sets import PredictionSets, one_copy_a_cell
from hv_utils.network.export import export_model, move_export, write_companions
from hv_utils.network.model import load_model
from hv_utils.network.preprocessing import load_images, run_batches
from hv_utils.scores.calibration import fit_temperature
from hv_utils.scores.thresholds import LEAST_ANSWERED, choose_threshold

if TYPE_CHECKING:
    import keras

AGREEMENT_IMAGES = 4
LEAST_OF_A_CLASS = 8  # images drawn, where there are as many
# Once the kernels are rounded, what differs is the order of the sums: 1e-5 or so.
AGREEMENT = 1e-3


def finish_model(
    run: Run,
    *,
    target_accuracy: float = 0.95,
    least_answered: float = LEAST_ANSWERED,
    max_images: int = 600,
    rank: int = 64,
    half: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Export a run's model and fit on training and validation images what goes with it.

    Reads `images.csv`, `model.keras` and, where it is there, `photos.csv`; writes `model.onnx`,
    `model.onnx.npz` and `model.onnx.json`. The temperature and the threshold of `unsure` come from
    validation images, the statistics of `not_a_cell` from training images and its threshold from
    validation images; the test split takes no part.

    Parameters
    ----------
    run : Run
        After `notebooks/03_model.ipynb`.
    target_accuracy, least_answered : float
        See `thresholds.choose_threshold`.
    max_images : int
        Images of training and of validation, at most, drawn at random; 0 takes all.
    rank : int
        See `novelty.fit_novelty`.
    half : bool
        See `export.export_model`.
    seed : int
        Of the drawing.
    progress : callable
        Called with a line of text before each part.

    Returns
    -------
    dict
        What `model.onnx.json` holds: beside classes, size and checksums `temperature`,
        `thresholds`, `calibration`, `sets`, `novelty` and `agreement` (largest differences between
        the exported model and Keras on validation images).

    Raises
    ------
    HematoVisionError
        Where an artefact is missing, a split is empty, or the export disagrees with Keras.
    """
    table = run.read_table("images.csv", made_by="01_data")
    source = run.need("model.keras", made_by="03_model")
    train, val = (_some(table, split, max_images, seed) for split in ("train", "val"))
    path = run.path(".model.onnx")  # not yet by its name: what is refused below must not be used
    progress("exporting to ONNX")
    loaded = load_model(source)
    export_model(source, path, half=half, loaded=loaded)
    model = OnnxClassifier.load(path, threads=cores())
    progress(f"features of {len(train):,} training and {len(val):,} validation images")
    (_, features), (logits, val_features) = (
        network_outputs(model, list(part["path"])) for part in (train, val)
    )
    y_train, y_val = (label_index(part["label"], model.classes) for part in (train, val))
    raw = model.probabilities(logits)
    temperature = fit_temperature(y_val, raw)
    calibrated = OnnxClassifier(
        model.session, model.classes, model.size, model.head, temperature=temperature
    ).probabilities(logits)
    threshold = choose_threshold(
        y_val, calibrated, target=target_accuracy, least_answered=least_answered
    )
    photos = {split: photos_of(run, table, split, max_images) for split in ("train", "val")}
    novelty = fit_novelty(
        _joined(model, features, photos["train"]),
        np.concatenate([y_train, label_index(photos["train"]["label"], model.classes)]),
        _joined(model, val_features, photos["val"]),
        rank=rank,
    )
    single = one_copy_a_cell(list(val["cell"]), seed=seed)
    sets = PredictionSets.fit(calibrated[single], y_val[single])
    distances = novelty.score(val_features[single])
    usual = Familiarity.fit(distances, y_val[single], len(model.classes))
    with np.load(arrays_path(path)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays |= novelty.arrays()
    facts = {
        **model.meta,
        "temperature": temperature,
        "thresholds": {
            "unsure_below": threshold.unsure_below,
            "not_a_cell_above": novelty.threshold,
        },
        "calibration": {**threshold.facts(), "n_val": len(val)},
        SETS: sets.facts(model.classes),
        DISTANCES: usual.facts(model.classes),
        "novelty": {
            "n_train": len(train),
            "n_photos": sum(map(len, photos.values())),
            "rank": novelty.basis.shape[1],
            "quantile": QUANTILE,
        },
        "agreement": agreement(loaded[0], model, list(val["path"][:AGREEMENT_IMAGES])),
    }
    write_companions(path, facts=facts, arrays=arrays)
    return OnnxClassifier.load(move_export(path, run.path("model.onnx"))).meta


def photos_of(run: Run, table: pd.DataFrame, split: str, count: int) -> pd.DataFrame:
    """Return the photos, before augmentation, of the cells of a split: `path` and `label`.

    Users bring photos, not copies turned on a black ground; without them in the statistics a good
    photo would look new. Empty where the run has no photos.csv. At most `count`, 0 for all.
    """
    if not run.path("photos.csv").exists():
        return pd.DataFrame({"path": [], "label": []})
    photos = run.read_table("photos.csv")
    cells = set(table.loc[table["split"] == split, "cell"].dropna())
    chosen = photos[photos["photo"].isin(cells) & photos["label"].isin(set(table["label"]))]
    there = [Path(path).is_file() for path in chosen["path"]]
    chosen = chosen.loc[np.array(there, bool)]
    return chosen.head(count) if count else chosen


def _joined(model: OnnxClassifier, features: np.ndarray, photos: pd.DataFrame) -> np.ndarray:
    if photos.empty:
        return features
    return np.concatenate([features, network_outputs(model, list(photos["path"]))[1]])


def network_outputs(model: OnnxClassifier, paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits, (N, K), and the pooled features, (N, 1280), of N image files.

    The files are read as in `predict.predict_rows`; one that cannot be read is an error.
    """

    def call(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, feature_map = model.run(images)
        return logits, feature_map.mean(axis=(1, 2))

    logits, features = zip(*run_batches(call, paths, size=model.size), strict=True)
    return np.concatenate(logits), np.concatenate(features)


def agreement(reference: keras.Model, model: OnnxClassifier, paths: list[str]) -> dict[str, float]:
    """Measure how far an exported model is from its Keras model on some images.

    Returns
    -------
    dict
        `n_images`, `max_prob_difference` and `max_cam_difference` (of heat maps divided by their
        largest value).

    Raises
    ------
    HematoVisionError
        Where a probability differs by more than the order of summation explains.
    """
    from hv_utils.network.gradcam import grad_cam

    images = load_images(paths, size=model.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a loaded model remarks that its input has a name
        expected = np.asarray(reference(images.astype(np.float32), training=False))
        chosen = expected.argmax(axis=1)
        theirs = grad_cam(reference, images, chosen)
    logits, feature_map = model.run(images)
    plain = OnnxClassifier(model.session, model.classes, model.size, model.head)
    difference = float(np.abs(plain.probabilities(logits) - expected).max())
    if difference > AGREEMENT:
        raise HematoVisionError(
            "expected the exported model to agree with its Keras model, but a probability "
            f"differs by {difference:.4f}: round its kernels with kernels.round_kernels before it "
            "is saved, or export with half=False"
        )
    ours = model.heat_maps(feature_map, chosen)
    largest = max(float(theirs.max()), 1e-12)
    return {
        "n_images": len(images),
        "max_prob_difference": difference,
        "max_cam_difference": float(np.abs(ours - theirs).max()) / largest,
    }


def _some(table: pd.DataFrame, split: str, count: int, seed: int) -> pd.DataFrame:
    rows = table[table["split"] == split]
    if rows.empty:
        raise HematoVisionError(
            f"expected images of the split {split!r} in images.csv, but there are none: "
            "run notebooks/01_data.ipynb again"
        )
    if not 0 < count < len(rows):
        return rows
    drawn = rows.sample(count, random_state=seed)
    others = rows.drop(drawn.index).sample(frac=1, random_state=seed)
    missing = LEAST_OF_A_CLASS - others["label"].map(drawn["label"].value_counts()).fillna(0)
    rare = others.groupby("label").cumcount() < missing  # a random draw may hold none of them
    return pd.concat([drawn, others[rare]])
