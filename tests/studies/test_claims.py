"""The verdicts on the claims: each can come out either way."""

import pytest

from hv_utils.scores.verdicts import CONFIRMED, REFUTED, UNDECIDED, stable_verdict
from hv_utils.studies.claims import CLAIMS, judge_all


def artefacts(low=0.85, high=0.93, worst=0.8, best=0.95, energy=0.6, fall=0.0, ms=20.0):
    return {
        "metrics": {
            "macro_f1": (low + high) / 2,
            "n_images": 100,
            "n_cells": 10,
            "intervals": {"macro_f1": {"low": low, "high": high}},
            "per_class": {"a": {"f1": worst}, "b": {"f1": best}},
        },
        "gradcam": {
            "energy_box": energy,
            "area_box": 0.2,
            "gain_intervals": {"box": [0.1, 0.2]},
        },
        "ablations": {"stability": stability(fall)},
        "prediction": {"ms_per_image": ms},
    }


def stability(fall):
    spread = {"sd": 0.02, "low": 0.01, "high": 0.04}
    found = stable_verdict(spread, fall, tolerance=0.05)
    return {**spread, "largest_drop": fall, "tolerance": 0.05, "verdict": found}


def verdict(claim, **options):
    return judge_all(artefacts(**options)).set_index("claim").loc[claim, "verdict"]


@pytest.mark.parametrize(
    ("claim", "options", "expected"),
    [
        ("average F1 of 91 %", {"low": 0.92, "high": 0.96}, CONFIRMED),
        ("average F1 of 91 %", {"low": 0.80, "high": 0.90}, REFUTED),
        ("average F1 of 91 %", {"low": 0.85, "high": 0.93}, UNDECIDED),
        ("average F1 of 91 %", {"low": 1.0, "high": 1.0}, UNDECIDED),
        ("consistent over the classes", {"worst": 0.9, "best": 0.94}, CONFIRMED),
        ("consistent over the classes", {"worst": 0.9, "best": 0.97}, UNDECIDED),
        ("consistent over the classes", {"worst": 0.5, "best": 0.97}, REFUTED),
        ("attention on the nuclei", {"energy": 0.7}, CONFIRMED),
        ("attention on the nuclei", {"energy": 0.3}, REFUTED),
        ("stable training", {"fall": 0.02}, CONFIRMED),
        ("stable training", {"fall": 0.07}, UNDECIDED),
        ("stable training", {"fall": 0.3}, REFUTED),
        ("fast inference", {"ms": 20}, CONFIRMED),
        ("fast inference", {"ms": 500}, REFUTED),
    ],
)
def test_verdicts(claim, options, expected):
    assert verdict(claim, **options) == expected


def test_what_was_not_measured_is_undecided():
    table = judge_all({})
    assert len(table) == len(CLAIMS)
    assert set(table["verdict"]) == {UNDECIDED}
    assert set(table["evidence"]) == {"not measured in this run"}


def test_ablations_bring_their_own_verdicts():
    claims = {"augmentation": {"evidence": "gain 0.05", "verdict": CONFIRMED}}
    weights = {"gain": "weighted, not plain", "value": 0.04, "low": 0.01, "high": 0.07}
    gains = [{**weights, "score": score} for score in ("log_loss", "macro_f1")]
    table = judge_all({"ablations": {"claims": claims, "gains": gains}}).set_index("claim")
    found = table.loc["augmentation against imbalance"]
    assert found["verdict"] == CONFIRMED
    expected = "gain 0.05; class weights alone +0.040 (+0.010 to +0.070)"
    assert found["evidence"] == expected, "what helps without a copy stands beside it"
    assert table.loc["dropout against overfitting", "verdict"] == UNDECIDED


def test_images_without_known_cells_leave_three_claims_to_judge():
    """A folder of one's own has neither outlines nor ablations; the rest must not need them."""
    found = artefacts()
    found["gradcam"] = {"n_images": 10, "target": None, "verdict": UNDECIDED}
    found["ablations"] = {"cells_known": False, "reason": "the source photos are not known"}
    table = judge_all(found).set_index("claim")
    measured = table.index[table["evidence"] != "not measured in this run"]
    assert set(measured) == {"average F1 of 91 %", "consistent over the classes", "fast inference"}
