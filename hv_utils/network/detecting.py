"""Train the detector and choose its thresholds, on validation fields alone."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from hv_utils.fields.scale import measure_scale
from hv_utils.fields.view import GROUND
from hv_utils.ground.files import atomic_path, cores
from hv_utils.inference.detector import FIELD_KINDS, LEAST_SCORE, RED, STRIDE, Detector, Finds
from hv_utils.network.checkpoints import load_state, save_state
from hv_utils.network.course import cosine_schedule
from hv_utils.network.detector import build_detector, detector_loss, targets, write_detector
from hv_utils.network.field_truth import TrueField
from hv_utils.network.restaining import restained, worn
from hv_utils.scores.detection import Matched, average_precision, match

if TYPE_CHECKING:
    import keras

SCALES = (0.75, 1.33)  # the ruler's error, and cells of other sizes
RED_FOUND = 0.95  # share of the red cells' boxes that the threshold has to let be found
STAINED = 215  # grey level, on neutral ground, below which something lies
RED_LEVELS = np.full(3, 0.3, np.float32)  # of a stain that another is measured by


@dataclass(frozen=True)
class DetectorTraining:
    """What a training is made of.

    Attributes
    ----------
    passes, images : int
        Passes in all, and crops of each.
    side : int
        Of a crop, in pixels of `FIELD_UM`.
    batch : int
    rate : float
        Peak of Adam's learning rate; it climbs in the first tenth and falls along a cosine.
    seed : int
    """

    passes: int = 85
    images: int = 1024
    side: int = 192
    batch: int = 16
    rate: float = 2e-3
    seed: int = 0


def train(
    learnt: Sequence[TrueField],
    val: Sequence[TrueField],
    settings: DetectorTraining,
    folder: Path,
) -> tuple[keras.Model, list[dict]]:
    """Train, or go on after an interruption.

    Parameters
    ----------
    learnt, val : sequence of TrueField
        The latter judge every few passes.
    settings : DetectorTraining
    folder : Path
        After each pass it holds `state.npz`, all that is needed to go on.

    Returns
    -------
    model : keras.Model
        Of the last pass.
    history : list of dict
        A row a pass.
    """
    import keras

    model = build_detector(seed=settings.seed)
    steps = settings.images // settings.batch
    rate = cosine_schedule(settings.rate, steps * settings.passes)
    model.compile(keras.optimizers.Adam(rate, clipnorm=10.0), loss=detector_loss)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "state.npz"
    rows, _ = load_state(state, variables) or ([], [])
    ready = [(*field.to_scale(), field.kinds, field.complete) for field in learnt]
    for number in range(len(rows) + 1, settings.passes + 1):
        start = time.monotonic()
        images, truth = _crops(ready, settings, number)
        ran = model.fit(images, truth, batch_size=settings.batch, shuffle=False, verbose=0)
        row = {"pass": number, "loss": round(ran.history["loss"][0], 4)}
        if number % 5 == 0 or number == settings.passes:
            row |= {k: round(v, 4) for k, v in _precisions(judged(model, val)).items()}
        rows.append({**row, "seconds": round(time.monotonic() - start, 1)})
        save_state(state, variables, rows)
        print(json.dumps(rows[-1]), flush=True)
    return model, rows


def finish(model: keras.Model, val: Sequence[TrueField], folder: Path) -> Path:
    """Export a detector with thresholds chosen on validation fields.

    Returns
    -------
    Path
        `detector.onnx`.
    """
    chosen = {kind: _threshold(kind, rows) for kind, rows in judged(model, val).items()}
    path = folder / "detector.onnx"
    with atomic_path(path) as temporary:
        temporary.write_bytes(write_detector(model, chosen).SerializeToString())
    return path


def judged(model: keras.Model, fields: Sequence[TrueField]) -> dict[str, list[Matched]]:
    """Hold what a network finds against the truth, by kind, a row a field."""
    everything = dict.fromkeys(FIELD_KINDS, LEAST_SCORE)
    detector = Detector(write_detector(model, everything).SerializeToString())
    with ThreadPoolExecutor(cores()) as pool:
        return matched([*pool.map(lambda one: _candidates(detector, one), fields)], fields)


def _candidates(detector: Detector, field: TrueField) -> Finds:
    scale, stain = measure_scale(field.image)
    return detector.candidates(field.image, scale, stain.ground)


def matched(found: Sequence[Finds], fields: Sequence[TrueField]) -> dict[str, list[Matched]]:
    """Match the finds of each field with its boxes, by kind."""
    rows: dict[str, list[Matched]] = {kind: [] for kind in FIELD_KINDS}
    for finds, field in zip(found, fields, strict=True):
        for index, kind in enumerate(FIELD_KINDS):
            own = finds.of(kind)
            rows[kind].append(match(own.boxes, own.scores, field.boxes[field.kinds == index]))
    return rows


def _precisions(rows: dict[str, list[Matched]]) -> dict[str, float]:
    return {f"val_ap_{kind}": average_precision(own) for kind, own in rows.items()}


def _threshold(kind: str, rows: Sequence[Matched]) -> float:
    """Return from which score on finds count.

    For white cells and platelets that of the best F1. Many red cells have no box, so what looks
    like a false find is often a cell: there it is the highest that finds `RED_FOUND` of the boxes.
    """
    scores = np.concatenate([row.scores for row in rows])
    if not scores.size:  # a network that has learnt too little to find anything
        return 1.0
    right = np.concatenate([row.right for row in rows])
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(right[order])
    n_true = sum(row.n_true for row in rows)
    if kind == RED:
        last = min(int(np.searchsorted(hits, RED_FOUND * n_true)), len(scores) - 1)
    else:
        last = int((2 * hits / (np.arange(1, len(hits) + 1) + n_true)).argmax())
    below = scores[last + 1] if last + 1 < len(scores) else scores[last]
    return float((scores[last] + below) / 2)


def _crops(
    ready: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, bool]],
    settings: DetectorTraining,
    number: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the crops of one pass: float32 images and their targets."""
    rng = np.random.default_rng((settings.seed, number))
    chosen = rng.integers(len(ready), size=settings.images)
    make = partial(_crop, ready=ready, settings=settings, number=number)
    with ThreadPoolExecutor(cores()) as pool:
        made = [*pool.map(lambda pair: make(*pair), enumerate(chosen))]
    return np.stack([one[0] for one in made]), np.stack([one[1] for one in made])


def _crop(place: int, index: int, *, ready, settings, number) -> tuple[np.ndarray, np.ndarray]:
    """Turn, mirror, scale, stain and wear a part of one field, and draw its targets."""
    rng = np.random.default_rng((settings.seed, number, place))
    field, boxes, kinds, complete = ready[index]
    side = settings.side
    matrix, turned = _placement(field.shape, boxes, rng, side)
    image = cv2.warpAffine(
        field, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(GROUND,) * 3
    )
    grid = (side // STRIDE,) * 2
    dark = cv2.resize(image, grid, interpolation=cv2.INTER_AREA).min(axis=2) < STAINED
    other = RED_LEVELS * np.exp(rng.normal(0, 0.35, 3)).astype(np.float32)
    image = worn(restained(image, rng, RED_LEVELS, other), rng)
    seen = np.clip(turned, 0, side)
    area = np.prod(turned[:, 2:] - turned[:, :2], axis=1)
    left = np.prod(seen[:, 2:] - seen[:, :2], axis=1)
    kept = left > 0.3 * area
    truth = targets(seen[kept], kinds[kept], side, stained=None if complete else dark)
    return image.astype(np.float32), truth


def _placement(shape, boxes, rng, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a quarter turn, a mirroring, a scale and a place: boxes stay boxes."""
    zoom = np.exp(rng.uniform(*np.log(SCALES)))
    turn = np.array([[1.0, 0.0], [0.0, 1.0]]) * zoom * rng.choice([-1.0, 1.0], 2)[:, None]
    if rng.random() < 0.5:
        turn = turn[::-1]
    high, wide = shape[:2]
    reach = side / 2 / zoom
    middle = np.array(
        [
            rng.uniform(min(reach, length / 2), max(length - reach, length / 2))
            for length in (wide, high)
        ]
    )
    shift = side / 2 - turn @ middle
    ends = boxes.reshape(-1, 2, 2) @ turn.T + shift
    return np.hstack([turn, shift[:, None]]), np.hstack([ends.min(axis=1), ends.max(axis=1)])
