"""Train on standard views of several laboratories, so that what is learnt carries over.

Each laboratory and kind is drawn equally often; every view is changed at random (`restaining`);
the weights that are kept are a running mean of those along the way, and of these the mean over
trainings of different length, their batch normalisations measured anew. All choices are made on
validation views of the laboratories that are learnt from.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hv_utils.fields.view import VIEW_SIDE, stain_levels
from hv_utils.ground.files import atomic_path, dump_json, write_text
from hv_utils.ground.predictions import label_index
from hv_utils.network.model import build_model
from hv_utils.network.restaining import augmented
from hv_utils.network.settings import BATCH_NORM_MOMENTUM
from hv_utils.network.views import Views, middle
from hv_utils.network.weights import calibrate_batch_norm
from hv_utils.scores.calibration import log_loss

if TYPE_CHECKING:
    import keras

NORM_VIEWS = 384  # that the batch normalisations are measured on
WARM_UP = 0.05  # of all steps


@dataclass(frozen=True)
class ViewTraining:
    """What a training is made of.

    Attributes
    ----------
    passes, images : int
        Passes in all, and images of each.
    small_passes, small_side : int
        The first passes see the same view in fewer pixels, which costs less.
    judge_every : int
        Passes between two measurements on validation views.
    batch : int
    rate : float
        Peak of Adam's learning rate; it climbs in the first twentieth and falls along a cosine.
    average : float
        Decay of the running mean of the weights, by step.
    smoothing, dropout : float
    start : str
        See `weights.backbone`.
    seed : int
    """

    passes: int = 16
    images: int = 2048
    small_passes: int = 11
    small_side: int = 128
    judge_every: int = 4
    batch: int = 32
    rate: float = 7e-4
    average: float = 0.995
    smoothing: float = 0.05
    dropout: float = 0.3
    start: str = "hematovision"
    seed: int = 0

    @property
    def steps_a_pass(self) -> int:
        """Batches of a pass."""
        return -(-self.images // self.batch)

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.passes * self.steps_a_pass


def train(
    views: Views, classes: tuple[str, ...], settings: ViewTraining, folder: Path
) -> keras.Model:
    """Train, or go on after an interruption.

    Parameters
    ----------
    views : Views
        With the parts train and val.
    classes : tuple of str
    settings : ViewTraining
    folder : Path
        After each pass it holds `state.npz` (all that is needed to go on) and `history.json`.

    Returns
    -------
    keras.Model
        With averaged weights and norms measured anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learnt, val = views.part("train"), views.part("val")
    labels = label_index(learnt.table["label"], classes)
    state, log = folder / "state.npz", folder / "history.json"
    done = passes_done(state, settings)
    history = json.loads(log.read_text(encoding="utf-8")) if log.exists() else []
    # Stopped between the two files, a pass is learnt but not told of.
    history = history[:done] + [{"pass": number + 1} for number in range(len(history), done)]
    trainer = None
    for number in range(done + 1, settings.passes + 1):
        side = settings.small_side if number <= settings.small_passes else VIEW_SIDE
        if trainer is None or trainer.side != side:
            trainer = Trainer(settings, classes, side)
            if state.exists():
                trainer.load(state)
        start = time.monotonic()
        row = {"pass": number, "side": side}
        row |= trainer.one_pass(view_batches(learnt, labels, settings, number, side))
        trainer.save(state)
        if number % settings.judge_every == 0 or number == settings.passes:
            with trainer.averaged(norm_views(learnt, settings, side)):
                row |= judged(trainer, val, classes)
        history.append({**row, "seconds": round(time.monotonic() - start, 1)})
        write_text(log, dump_json(history))
        print(json.dumps(history[-1]), flush=True)
    if trainer is None:  # all passes were there
        trainer = Trainer(settings, classes, VIEW_SIDE)
        trainer.load(state)
    trainer.take_average(norm_views(learnt, settings, trainer.side))
    return trainer.model


def mean_of(models: Sequence[keras.Model], views: Views, settings: ViewTraining) -> keras.Model:
    """Give the first model the mean of the weights of all, its norms measured anew.

    Trainings from one start lie close enough for their mean to be a model, often a better one away
    from home (Wortsman et al., 2022).

    Parameters
    ----------
    models : sequence of keras.Model
        From `train`, with the same start.
    views : Views
        With the part train.
    settings : ViewTraining

    Returns
    -------
    keras.Model
        The first.
    """
    weights = zip(*(model.get_weights() for model in models), strict=True)
    models[0].set_weights([np.mean(parts, axis=0) for parts in weights])
    calibrate_batch_norm(models[0], norm_views(views.part("train"), settings, VIEW_SIDE))
    return models[0]


def passes_done(state: Path, settings: ViewTraining) -> int:
    """Return how many passes lie behind a saved state; 0 where there is none."""
    if not state.exists():
        return 0
    with np.load(state) as arrays:
        return int(arrays["step"]) // settings.steps_a_pass


def draw_rows(table: pd.DataFrame, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows: laboratory and class in turn, then the group, then one of its images.

    Kinds that one laboratory alone has count once, the others once a laboratory.
    """
    strata = [
        [part.index[rows].to_numpy() for rows in part.groupby("group").indices.values()]
        for _, part in table.groupby(["laboratory", "label"])
    ]
    order = np.concatenate([rng.permutation(len(strata)) for _ in range(-(-count // len(strata)))])[
        :count
    ]
    chosen = []
    for stratum in order:
        groups = strata[stratum]
        chosen.append(rng.choice(groups[rng.integers(len(groups))]))
    return np.array(chosen)


def shares_shown(table: pd.DataFrame) -> dict[str, float]:
    """Return how often each class is drawn by `draw_rows`: shares that sum to 1."""
    drawn = table.drop_duplicates(["laboratory", "label"])["label"].value_counts(normalize=True)
    return {name: float(drawn[name]) for name in sorted(drawn.index)}


def view_batches(
    views: Views, labels: np.ndarray, settings: ViewTraining, number: int, side: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the batches of one pass, made in a thread of their own: uint8 views and labels."""
    level = lru_cache(None)(lambda row: stain_levels(views.view(row)))
    ready: queue.Queue = queue.Queue(maxsize=4)

    def fill() -> None:
        rng = np.random.default_rng((settings.seed, number))
        rows = draw_rows(views.table, settings.images, rng)
        for start in range(0, len(rows), settings.batch):
            part = rows[start : start + settings.batch]
            others = rng.integers(len(labels), size=len(part))
            images = [
                augmented(views.view(row), rng, level(row), level(other), side=side)
                for row, other in zip(part, others, strict=True)
            ]
            ready.put((np.stack(images), labels[part]))

    def work() -> None:
        try:
            fill()
            ready.put(None)
        except Exception as error:  # told to the consumer, which would wait for ever
            ready.put(error)

    threading.Thread(target=work, daemon=True).start()
    while (item := ready.get()) is not None:
        if isinstance(item, Exception):
            raise item
        yield item


def norm_views(views: Views, settings: ViewTraining, side: int) -> np.ndarray:
    """Return training views as they are, drawn as in training, to measure the norms on."""
    rows = draw_rows(views.table, NORM_VIEWS, np.random.default_rng(settings.seed))
    return np.stack([middle(views.view(row), side) for row in rows])


def rate_at(step: int, steps: int, peak: float) -> float:
    """Return the learning rate of a step."""
    warm = max(1, int(steps * WARM_UP))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm)))


def judged(trainer: Trainer, views: Views, classes: tuple[str, ...]) -> dict[str, float]:
    """Score validation views, each laboratory for itself: macro-F1 and log loss."""
    from sklearn.metrics import f1_score

    truth = label_index(views.table["label"], classes)
    probs = trainer.predict(views.shown(trainer.side))
    found = {}
    for name, rows in views.table.groupby("laboratory").indices.items():
        there = np.unique(truth[rows])
        predicted = probs[rows].argmax(axis=1)
        score = f1_score(truth[rows], predicted, labels=there, average="macro", zero_division=0)
        found[f"{name}_macro_f1"] = float(score)
        found[f"{name}_log_loss"] = log_loss(truth[rows], probs[rows])
    return {key: round(value, 4) for key, value in found.items()}


class Trainer:
    """A model, its optimiser and the running mean of its weights.

    Parameters
    ----------
    settings : ViewTraining
    classes : tuple of str
    side : int
        Of the views, in pixels.
    """

    def __init__(self, settings: ViewTraining, classes: tuple[str, ...], side: int) -> None:
        import keras
        import tensorflow as tf

        self.settings, self.classes, self.side = settings, classes, side
        self.model = build_model(
            len(classes),
            size=(side, side),
            weights=settings.start,
            dropout=settings.dropout,
            seed=settings.seed,
        )
        self.model.trainable = True
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = BATCH_NORM_MOMENTUM
        self.optimizer = keras.optimizers.Adam(settings.rate)
        self.optimizer.build(self.model.trainable_variables)
        self.mean = [tf.Variable(v.value, trainable=False) for v in self.model.trainable_variables]
        self.loss = keras.losses.CategoricalCrossentropy(label_smoothing=settings.smoothing)
        self.step = 0
        shape = (None, side, side, 3)
        self.learn = tf.function(
            self._learn,
            input_signature=[
                tf.TensorSpec(shape, tf.uint8),
                tf.TensorSpec((None,), tf.int32),
                tf.TensorSpec((), tf.float32),
            ],
        )
        self.forward = tf.function(
            lambda images: self.model(images, training=False),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
        )

    def _learn(self, images: Any, labels: Any, decay: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            probs = self.model(tf.cast(images, tf.float32), training=True)
            loss = self.loss(tf.one_hot(labels, len(self.classes)), probs)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for mean, variable in zip(self.mean, variables, strict=True):
            mean.assign(decay * mean + (1 - decay) * variable.value)
        right = tf.argmax(probs, 1, tf.int32) == labels
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))

    def one_pass(self, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """Learn from the batches of one pass; return mean loss and accuracy."""
        found = []
        for images, labels in batches:
            rate = rate_at(self.step, self.settings.steps, self.settings.rate)
            self.optimizer.learning_rate = rate
            decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
            loss, right = self.learn(images, labels.astype(np.int32), np.float32(decay))
            found.append((float(loss), float(right)))
            self.step += 1
        loss, accuracy = np.mean(found, axis=0)
        return {"loss": round(float(loss), 4), "accuracy": round(float(accuracy), 4)}

    def predict(self, images: np.ndarray, batch: int = 64) -> np.ndarray:
        """Return the probabilities, float32 (N, K), of uint8 views (N, side, side, 3)."""
        starts = range(0, len(images), batch)
        parts = [self.forward(images[i : i + batch].astype(np.float32)).numpy() for i in starts]
        return np.concatenate(parts)

    @contextmanager
    def averaged(self, images: np.ndarray) -> Iterator[keras.Model]:
        """Give the model averaged weights within the block, see `take_average`."""
        kept = self.model.get_weights()
        self.take_average(images)
        yield self.model
        self.model.set_weights(kept)

    def take_average(self, images: np.ndarray) -> None:
        """Give the model averaged weights, and norms measured on `images`, uint8 (N, …)."""
        for variable, mean in zip(self.model.trainable_variables, self.mean, strict=True):
            variable.assign(mean.numpy())
        calibrate_batch_norm(self.model, images)

    def save(self, path: Path) -> None:
        """Write all that is needed to go on."""
        groups = {"w": self.model.weights, "o": self.optimizer.variables, "m": self.mean}
        arrays = {
            f"{letter}{index}": np.asarray(variable)
            for letter, variables in groups.items()
            for index, variable in enumerate(variables)
        }
        with atomic_path(path) as temporary:
            np.savez(temporary, step=self.step, **arrays)

    def load(self, path: Path) -> None:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            self.step = int(arrays["step"])
            groups = {"w": self.model.weights, "o": self.optimizer.variables, "m": self.mean}
            for letter, variables in groups.items():
                for index, variable in enumerate(variables):
                    variable.assign(arrays[f"{letter}{index}"])
