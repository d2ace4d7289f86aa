"""Heads: reproducible by seed, what dropout and early stopping do, both ends of one training."""

import numpy as np
import pytest

from hv_utils.network.heads import HeadTrainer
from hv_utils.network.settings import HeadTraining
from hv_utils.scores.calibration import log_loss


def noisy(n, seed):
    """Return features in which three classes overlap, so that learning by heart is possible."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    means = 0.6 * np.repeat(np.eye(3), 14, axis=1)[:, :40]
    return (means[labels] + rng.normal(size=(n, 40))).astype(np.float32), labels


@pytest.fixture(scope="module")
def trainer():
    settings = HeadTraining(learning_rate=0.01, epochs=25, patience=4)
    return HeadTrainer(40, 3, settings, hidden=32)


@pytest.fixture(scope="module")
def data():
    return noisy(90, 0), noisy(200, 1)


def fit(trainer, data, **changes):
    return trainer.fit(*data, **{"dropout": 0.0, "seed": 0, **changes})


def test_same_seed_same_head_whatever_was_trained_between(trainer, data):
    first = fit(trainer, data, dropout=0.3)
    fit(trainer, data, dropout=0.5, seed=9)
    again = fit(trainer, data, dropout=0.3)
    assert np.array_equal(first.val_losses, again.val_losses)
    other = fit(trainer, data, dropout=0.3, seed=1)
    assert not np.array_equal(first.val_losses, other.val_losses)


def test_early_stopping_keeps_the_pass_with_the_lowest_loss_before_patience_ran_out(trainer, data):
    head = fit(trainer, data)
    losses = head.val_losses
    assert head.stopped_after < len(losses) == 25, "these data are learnt by heart"
    seen = losses[: head.stopped_after]
    assert head.stopped_after - 1 - seen.argmin() == 4
    features, labels = data[1]
    assert log_loss(labels, trainer.predict(head.stopped, features)) == pytest.approx(seen.min())
    assert log_loss(labels, trainer.predict(head.final, features)) == pytest.approx(losses[-1])


def test_with_patience_to_spare_all_passes_are_run(data):
    head = fit(HeadTrainer(40, 3, HeadTraining(epochs=3, patience=50)), data)
    assert head.stopped_after == 3


def test_dropout_holds_back_learning_by_heart(trainer, data):
    features, labels = data[0]
    losses = {
        rate: log_loss(labels, trainer.predict(fit(trainer, data, dropout=rate).final, features))
        for rate in (0.0, 0.6)
    }
    assert losses[0.0] < 0.05 < losses[0.6]


def test_probabilities_sum_to_one_and_beat_chance(trainer, data):
    features, labels = data[1]
    probs = trainer.predict(fit(trainer, data).stopped, features)
    assert probs.shape == (200, 3)
    assert np.abs(probs.sum(1) - 1).max() < 1e-9
    assert (probs.argmax(1) == labels).mean() > 0.6
