"""Many small heads on the same frozen features: the head of the report, trained in a moment.

An ablation needs dozens of trainings that differ in one thing. Each starts anew from its seed, and
the step is compiled once for all of them: the share of dropped features is an input of the step,
not a part of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hv_utils.network.settings import HeadTraining
from hv_utils.scores.calibration import log_loss

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class FittedHead:
    """The two heads that one training gives.

    Attributes
    ----------
    stopped : list of array
        Weights of the epoch with the lowest validation loss, as early stopping keeps them.
    final : list of array
        Weights after the last epoch.
    val_losses : array, shape (epochs,), float
        Validation loss after each epoch.
    stopped_after : int
        Epochs that early stopping would have run.
    """

    stopped: list[np.ndarray]
    final: list[np.ndarray]
    val_losses: np.ndarray
    stopped_after: int


class HeadTrainer:
    """Trains heads (dropout, dense with ReLU, softmax) on features of D numbers.

    Parameters
    ----------
    n_features, n_classes : int
        D and K.
    settings : HeadTraining
        All passes are run, so that one training shows both ends. The features are there and the
        images balanced, so `calibration_images` and `class_weight` change nothing.
    hidden : int
        Units of the hidden layer.
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        settings: HeadTraining,
        *,
        hidden: int = 128,
    ) -> None:
        import keras

        layers = [
            keras.layers.Dense(hidden, activation="relu"),
            keras.layers.Dense(n_classes, activation="softmax"),
        ]
        self.model = keras.Sequential([keras.Input((n_features,)), *layers])
        self.settings = settings
        self._optimiser = keras.optimizers.Adam(settings.learning_rate)
        self._optimiser.build(self.model.trainable_variables)
        self._fresh = [variable.numpy() for variable in self._optimiser.variables]
        self._epoch = _compiled_epoch(self.model, self._optimiser)

    def fit(
        self,
        train: tuple[np.ndarray, np.ndarray],
        val: tuple[np.ndarray, np.ndarray],
        *,
        dropout: float,
        seed: int,
    ) -> FittedHead:
        """Train one head from new weights.

        Parameters
        ----------
        train, val : tuple of arrays
            Features (N, D) float32 and classes (N,) int, of different source photos.
        dropout : float
            Share of the features dropped at random in each step, 0 to below 1.
        seed : int
            Of the first weights, the order of the images and the dropped features, in place of the
            settings': two trainings that differ in `dropout` alone share the first two.

        Returns
        -------
        FittedHead
        """
        import tensorflow as tf

        epochs, batch_size = self.settings.epochs, self.settings.batch_size
        self._restart(seed)
        rng = np.random.default_rng(seed)
        features = tf.constant(train[0], tf.float32)
        labels = tf.constant(train[1], tf.int32)
        steps = -(-len(train[1]) // batch_size)
        losses: list[float] = []
        kept, best, ran = None, 0, epochs
        for epoch in range(epochs):
            # The last batch is filled up from the start of the pass, so that no image is left out.
            order = np.resize(rng.permutation(len(train[1])), (steps, batch_size))
            masks = tf.constant([seed, epoch * steps], tf.int32)
            rate = tf.constant(dropout, tf.float32)
            self._epoch(features, labels, tf.constant(order), rate, masks)
            losses.append(log_loss(val[1], self._probs(val[0])))
            if ran == epochs:  # early stopping would still be running
                if kept is None or losses[-1] < losses[best]:
                    kept, best = self.model.get_weights(), epoch
                elif epoch - best >= self.settings.patience:
                    ran = epoch + 1
        return FittedHead(kept, self.model.get_weights(), np.array(losses), ran)

    def predict(self, weights: list[np.ndarray], features: np.ndarray) -> np.ndarray:
        """Return `pred_probs`, shape (N, K), float64, of the head with these weights."""
        self.model.set_weights(weights)
        return self._probs(features)

    def _probs(self, features: np.ndarray) -> np.ndarray:
        probs = self.model(np.asarray(features, np.float32), training=False).numpy().astype(float)
        return probs / probs.sum(1, keepdims=True)

    def _restart(self, seed: int) -> None:
        import keras

        for number, variable in enumerate(self.model.trainable_variables):
            start = keras.initializers.GlorotUniform(seed=seed + number)
            flat = len(variable.shape) == 1  # biases begin at zero
            variable.assign(np.zeros(variable.shape) if flat else start(variable.shape))
        for variable, value in zip(self._optimiser.variables, self._fresh, strict=True):
            variable.assign(value)


def _compiled_epoch(model: keras.Sequential, optimiser: keras.optimizers.Optimizer):
    """Return one pass over the features as a compiled function.

    Keras's own `fit` takes some 50 ms to set up a pass, which is longer than the pass itself.
    """
    import keras
    import tensorflow as tf

    width = model.input_shape[1]
    signature = [
        tf.TensorSpec((None, width), tf.float32),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((None, None), tf.int64),
        tf.TensorSpec((), tf.float32),
        tf.TensorSpec((2,), tf.int32),
    ]

    @tf.function(input_signature=signature)
    def run_epoch(features, labels, order, dropout, masks):
        for step in tf.range(tf.shape(order)[0]):
            chosen = tf.gather(features, order[step])
            mask = masks + tf.stack([0, step])  # another one in every step
            chosen = tf.nn.experimental.stateless_dropout(chosen, dropout, seed=mask)
            truth = tf.gather(labels, order[step])
            with tf.GradientTape() as tape:
                probs = model(chosen, training=True)
                loss = keras.losses.sparse_categorical_crossentropy(truth, probs)
                loss = tf.reduce_mean(loss)
            optimiser.apply(
                tape.gradient(loss, model.trainable_variables), model.trainable_variables
            )

    return run_epoch
