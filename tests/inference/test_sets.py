"""Sets of classes: they keep their promise, and say when they cannot narrow anything down."""

import json

import numpy as np
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.sets import PredictionSets, in_words, one_copy_a_cell

SHARES = np.array([0.5, 0.3, 0.2])


def cells(rng, n, shares=SHARES):
    """Draw cells: their class, and what a middling classifier says of each."""
    labels = rng.choice(len(shares), n, p=shares)
    logits = rng.normal(size=(n, len(shares))) + 1.5 * np.eye(len(shares))[labels]
    probs = np.exp(logits)
    return probs / probs.sum(1, keepdims=True), labels


@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9])
def test_each_class_is_covered_as_often_as_was_asked_whatever_its_share(coverage):
    rng, held = np.random.default_rng(0), [[], [], []]
    for _ in range(300):
        sets = PredictionSets.fit(*cells(rng, 60))
        probs, labels = cells(rng, 60, np.array([0.1, 0.1, 0.8]))  # other shares than before
        inside = sets.p_values(probs)[np.arange(60), labels] > 1 - coverage + 1e-12
        kept = sets.sets(probs, coverage=coverage)
        assert kept[np.arange(60), labels][inside].all()
        assert kept[np.arange(60), probs.argmax(1)].all(), "the likeliest class stays"
        for k in range(3):
            held[k] += list(inside[labels == k])
    for k in range(3):
        # Never below; above by no more than one cell in those of the class.
        spare = 1 / (60 * SHARES[k])
        assert coverage - 0.01 < np.mean(held[k]) < coverage + spare + 0.02


def test_p_values_are_those_of_crepes():
    crepes = pytest.importorskip("crepes")
    rng = np.random.default_rng(1)
    probs, labels = cells(rng, 40)
    others, _ = cells(rng, 25)
    ours = PredictionSets.fit(probs, labels).p_values(others)
    theirs = crepes.ConformalClassifier()
    theirs.fit(1 - probs[np.arange(40), labels], bins=labels)
    for k in range(3):
        bins = np.full(len(others), k)
        found = theirs.predict_p(1 - others, bins=bins, all_classes=True, smoothing=False)
        np.testing.assert_allclose(ours[:, k], found[:, k])


def test_a_class_of_few_cells_is_never_excluded_where_the_coverage_asks_for_more():
    rng = np.random.default_rng(2)
    probs, _ = cells(rng, 30)
    labels = np.r_[np.zeros(26, int), np.full(4, 1)]
    sets = PredictionSets.fit(probs, labels)
    found = sets.sets(cells(rng, 500)[0], coverage=0.9)
    assert found[:, 1].all(), "of four cells nobody can say what is beyond nine in ten"
    assert found[:, 2].all(), "nor of none"
    assert not found[:, 0].all()
    assert not sets.sets(cells(rng, 500)[0], coverage=0.7)[:, 1].all()


def test_they_come_back_as_they_were_stored():
    sets = PredictionSets.fit(*cells(np.random.default_rng(3), 30))
    facts = json.loads(json.dumps(sets.facts("abc")))
    again = PredictionSets.from_facts(facts, "abc")
    for ours, theirs in zip(again.scores, sets.scores, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    turned = PredictionSets.from_facts(facts, "cba")
    assert list(turned.scores[0]) == facts["c"], "the names say whose they are"
    assert PredictionSets.from_facts(None, "abc") is None


@pytest.mark.parametrize("coverage", [0, 1, 2, -1, float("nan")])
def test_a_coverage_that_cannot_be_is_one_line(coverage):
    sets = PredictionSets.fit(*cells(np.random.default_rng(4), 9))
    with pytest.raises(HematoVisionError, match=r"a coverage above 0 and below 1, .*: 0\.9 asks"):
        sets.sets(np.eye(3), coverage=coverage)


def test_words():
    assert in_words([True, False, True], ("a", "b", "c")) == "a|c"


def test_one_copy_of_each_cell():
    names = ["a", "b", "a", None, "b", "a", float("nan")]
    drawn = one_copy_a_cell(names, seed=0)
    assert sorted(str(names[i]) for i in drawn) == ["None", "a", "b", "nan"]
    seen = {tuple(sorted(one_copy_a_cell(names, seed=seed))) for seed in range(40)}
    assert len(seen) == 6, "any of the copies"
