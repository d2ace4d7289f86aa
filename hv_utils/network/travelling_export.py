"""A model of standard views finished: exported, calibrated, with the thresholds of its verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hv_utils.fields.view import VIEW_UM, in_hue, stain_hue, stain_levels
from hv_utils.ground.files import cores
from hv_utils.ground.predictions import label_index
from hv_utils.inference.familiarity import FACT as DISTANCES
from hv_utils.inference.familiarity import Familiarity
from hv_utils.inference.novelty import QUANTILE, fit_novelty
from hv_utils.inference.onnx_model import OnnxClassifier, arrays_path
from hv_utils.inference.preparation import HUE, LARGEST, LEARNT_SHARES, STANDARD, VIEW
from hv_utils.inference.presence import fit_presence
from hv_utils.inference.sets import FACT as SETS
from hv_utils.inference.sets import PredictionSets, one_copy_a_cell
from hv_utils.network.export import export_model, write_companions
from hv_utils.network.kernels import VECTOR_PREFIX, round_kernels
from hv_utils.network.learnt import FACT
from hv_utils.network.model import save_model
from hv_utils.network.restaining import augmented, restained, worn
from hv_utils.network.travelling import ViewTraining, draw_rows, shares_shown
from hv_utils.network.views import Views, middle, views_beside
from hv_utils.scores.calibration import fit_temperature
from hv_utils.scores.thresholds import choose_threshold

if TYPE_CHECKING:
    import keras

SHOWN = 1200  # views of training and of validation, each as it is and changed
TARGET = 0.95  # accuracy of what is answered
RANK = 64
BESIDE = 300  # pictures of each laboratory for views without a cell
SMALL_KIND, ALL_BUT = "platelet", 0.99  # what is told by its size, and the share kept


def finish(
    model: keras.Model,
    views: Views,
    classes: tuple[str, ...],
    settings: ViewTraining,
    folder: Path,
) -> Path:
    """Export a model, and fit on training and validation views what goes with it.

    A foreign laboratory is imitated: temperature and thresholds are fitted on validation views as
    they are and changed at random as in training, in stain and focus twice over, so that they are
    stranger than what was learnt. What is no cell is learnt from views beside all cells, changed
    likewise.

    Parameters
    ----------
    model : keras.Model
        From `travelling.train`; its kernels are rounded in place.
    views : Views
        With the parts train and val.
    classes : tuple of str
    settings : travelling.ViewTraining
    folder : Path
        Gets `model.keras` and `model.onnx` with their companions.

    Returns
    -------
    Path
        Of `model.onnx`.
    """
    learnt, val = views.part("train"), views.part("val")
    hue = usual_hue(learnt)
    named = learnt.table.loc[learnt.table["laboratory"] == "kaggle", "group"]
    round_kernels(model)
    facts = {
        "start_weights": settings.start,
        FACT: sorted({f"kaggle/{group}" for group in named}),
        "seed": settings.seed,
        VIEW: STANDARD,
        "um_per_pixel": VIEW_UM,
        HUE: hue,
        LARGEST: largest_areas(learnt),
        LEARNT_SHARES: shares_shown(learnt.table),
    }
    source = save_model(model, folder / "model.keras", classes=classes, **facts)
    path = export_model(source, folder / "model.onnx")
    plain = OnnxClassifier.load(path, threads=cores())
    _, features, y_train = outputs(plain, learnt, hue, seed=0)
    logits, val_features, y_val = outputs(plain, val, hue, seed=1)
    temperature = fit_temperature(y_val, plain.probabilities(logits))
    cooled = replace(plain, temperature=temperature)
    threshold = choose_threshold(y_val, cooled.probabilities(logits), target=TARGET)
    novelty = fit_novelty(features, y_train, val_features, rank=RANK)
    presence = fit_presence(features, *(besides(plain, part, hue) for part in (learnt, val)))
    with np.load(arrays_path(path)) as stored:
        arrays = {
            name: stored[name].astype(np.float16) if name.endswith("_kernel") else stored[name]
            for name in stored.files
            if not name.startswith(VECTOR_PREFIX)  # nothing goes on training from it
        }
    found: dict[str, Any] = {
        **calibrated_at_home(replace(cooled, novelty=novelty), val, hue),
        "temperature": temperature,
        "thresholds": {
            "unsure_below": threshold.unsure_below,
            "a_cell_above": presence.threshold,
        },
        "calibration": {**threshold.facts(), "n_val": len(y_val)},
        "novelty": {"n_train": len(y_train), "rank": novelty.basis.shape[1], "quantile": QUANTILE},
    }
    arrays |= {**novelty.arrays(), **presence.arrays()}
    return write_companions(path, facts={**plain.meta, **found}, arrays=arrays)


def calibrated_at_home(
    model: OnnxClassifier, val: Views, hue: Sequence[float]
) -> dict[str, dict[str, list[float]]]:
    """Calibrate sets and familiarity on validation cells as they are, one view of each.

    Parameters
    ----------
    model : OnnxClassifier
        With its temperature and its novelty.
    val : Views
        Of all laboratories. What is promised here is promised for cells of these. Of a field of
        several cells one view is drawn.
    hue : sequence of float

    Returns
    -------
    dict
        Facts of the model.
    """
    rows = one_copy_a_cell(list(val.table["laboratory"] + "/" + val.table["group"].astype(str)))
    shown = [in_hue(np.ascontiguousarray(middle(val.view(row))), hue) for row in rows]
    parts = [model.run(np.stack(shown[at : at + 8])) for at in range(0, len(shown), 8)]
    features = np.concatenate([maps.mean(axis=(1, 2)) for _, maps in parts])
    table, largest = val.table.iloc[rows], model.meta.get(LARGEST, {})
    barred = [table["nucleus_um2"] > largest.get(name, np.inf) for name in model.classes]
    logits = np.where(np.column_stack(barred), -np.inf, np.concatenate([one for one, _ in parts]))
    truth = label_index(table["label"], model.classes)
    sets = PredictionSets.fit(model.probabilities(logits), truth)
    usual = Familiarity.fit(model.novelty.score(features), truth, len(model.classes))
    return {SETS: sets.facts(model.classes), DISTANCES: usual.facts(model.classes)}


def largest_areas(views: Views) -> dict[str, float]:
    """Return the stained area, in µm², that a platelet hardly ever exceeds, by training views."""
    areas = views.table.loc[views.table["label"] == SMALL_KIND, "nucleus_um2"]
    return {SMALL_KIND: round(float(areas.quantile(ALL_BUT)), 1)} if len(areas) else {}


def usual_hue(views: Views, *, count: int = SHOWN, seed: int = 0) -> list[float]:
    """Return the mean hue of the nuclear stain in views, laboratories and kinds drawn evenly."""
    rows = draw_rows(views.table, count, np.random.default_rng(seed))
    hues = [stain_hue(views.view(row)) for row in rows]
    return [round(float(share), 4) for share in np.mean(hues, axis=0)]


def besides(model: OnnxClassifier, views: Views, hue: Sequence[float]) -> np.ndarray:
    """Return the features of views beside all cells, as they are and changed."""
    return outputs(model, views_beside(views, BESIDE), hue, seed=2)[1]


def outputs(
    model: OnnxClassifier, views: Views, hue: Sequence[float], *, seed: int, count: int = SHOWN
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, features and classes of views as they are and changed, in one hue.

    Laboratories and kinds are drawn equally often, so that none outweighs the others.
    """
    rng = np.random.default_rng(seed)
    rows = draw_rows(views.table, count, rng)
    others = rng.permutation(rows)
    shown = [middle(views.view(row)) for row in rows]
    for row, other in zip(rows, others, strict=True):
        foreign = stain_levels(views.view(other))
        view = augmented(views.view(row), rng, stain_levels(views.view(row)), foreign)
        shown.append(worn(restained(view, rng, stain_levels(view), foreign), rng))
    shown = [in_hue(np.ascontiguousarray(view), hue) for view in shown]
    parts = [model.run(np.stack(shown[i : i + 8])) for i in range(0, len(shown), 8)]
    logits = np.concatenate([logits for logits, _ in parts])
    features = np.concatenate([feature_map.mean(axis=(1, 2)) for _, feature_map in parts])
    truth = label_index(views.table["label"].iloc[rows], model.classes)
    return logits, features, np.concatenate([truth, truth])
