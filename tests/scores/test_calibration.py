import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from hv_utils.ground.errors import HematoVisionError
from hv_utils.scores.calibration import (
    apply_temperature,
    calibration_report,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability_table,
)


def sample(n=4000, k=4, seed=0, sharpness=1.0):
    """Labels drawn from the probabilities: calibrated at sharpness 1, too sure above."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, k))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (rng.random((n, 1)) > probs.cumsum(1)).sum(1).clip(max=k - 1)
    return labels, apply_temperature(probs, 1 / sharpness)


def test_a_calibrated_model_has_a_small_error_and_temperature_one():
    labels, probs = sample()
    assert expected_calibration_error(labels, probs) < 0.03
    assert fit_temperature(labels, probs) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_temperature_undoes_the_sharpness(sharpness):
    labels, probs = sample(sharpness=sharpness)
    assert fit_temperature(labels, probs) == pytest.approx(sharpness, rel=0.08)


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_temperature_is_that_of_scikit_learn(sharpness):
    pytest.importorskip("sklearn", minversion="1.8")  # the first with this method
    labels, probs = sample(n=500, sharpness=sharpness)

    class Fixed(ClassifierMixin, BaseEstimator):
        """A fitted model whose logits are its input."""

        classes_ = np.arange(4)

        def fit(self, x, y):
            return self

        def decision_function(self, x):
            return x

        def predict(self, x):
            return x.argmax(1)

        def __sklearn_is_fitted__(self):
            return True

    logits = np.log(probs)
    oracle = CalibratedClassifierCV(FrozenEstimator(Fixed()), method="temperature")
    expected = oracle.fit(logits, labels).predict_proba(logits)
    found = apply_temperature(probs, fit_temperature(labels, probs))
    assert found == pytest.approx(expected, abs=2e-3)


def test_temperature_fitted_on_validation_mends_the_test_split():
    val, test = sample(seed=1, sharpness=3), sample(seed=2, sharpness=3)
    report = calibration_report(*val, *test)
    assert report["ece_after"] < 0.3 * report["ece"]
    assert report["log_loss_after"] < report["log_loss"]
    assert report["fitted_on"] == "val"
    other = calibration_report(*val, *sample(seed=3))
    assert other["temperature"] == report["temperature"], "the test split must choose nothing"


def test_temperature_keeps_every_verdict():
    _, probs = sample(sharpness=4)
    cooled = apply_temperature(probs, 2.5)
    assert (cooled.argmax(1) == probs.argmax(1)).all()
    assert cooled.sum(1) == pytest.approx(1)
    assert apply_temperature(probs, 1) == pytest.approx(probs, abs=1e-6)


def test_error_of_a_known_table():
    probs = np.array([[0.95, 0.05]] * 4 + [[0.65, 0.35]] * 4)
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    table = reliability_table(labels, probs)
    full = table[table["n"] > 0]
    assert full["n"].tolist() == [4, 4]
    assert full["accuracy"].tolist() == [0.25, 0.75]
    assert full["confidence"].tolist() == pytest.approx([0.65, 0.95])
    assert expected_calibration_error(labels, probs) == pytest.approx((0.4 + 0.2) / 2)


def test_edges_of_the_bins():
    table = reliability_table(np.array([0, 0]), np.array([[1.0, 0.0], [0.8, 0.2]]))
    assert table["n"].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 1]


def test_log_loss_is_that_of_scikit_learn_and_finite_on_zeros():
    labels, probs = sample()
    assert log_loss(labels, probs) == pytest.approx(sk.log_loss(labels, probs), rel=1e-5)
    assert np.isfinite(log_loss(np.array([0]), np.array([[0.0, 1.0]])))


def test_all_right_gives_the_lower_bound():
    labels = np.array([0, 1, 0, 1])
    probs = np.eye(2)[labels] * 0.6 + 0.2
    assert fit_temperature(labels, probs) == pytest.approx(0.05, rel=0.1)


def test_silly_input_is_refused():
    with pytest.raises(HematoVisionError, match="temperature above 0"):
        apply_temperature(np.ones((1, 1)), 0)
    with pytest.raises(HematoVisionError, match="validation images"):
        fit_temperature(np.array([], int), np.zeros((0, 4)))
    with pytest.raises(HematoVisionError, match="at least one bin"):
        reliability_table(np.array([0]), np.ones((1, 1)), n_bins=0)
