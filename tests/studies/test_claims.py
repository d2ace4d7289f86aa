"""The verdicts on the claims: each can come out either way."""

import pytest

from hv_utils.scores.verdicts import CONFIRMED, REFUTED, UNDECIDED, stable_verdict
from hv_utils.studies.claims import CLAIMS, judge_all
from hv_utils.studies.explanation_checks import MOSTLY


def artefacts(
    low=0.85, high=0.93, spread=(0.02, 0.2), energy=0.6, fall=0.0, ms=20.0, region="nucleus"
):
    return {
        "metrics": {
            "macro_f1": (low + high) / 2,
            "n_images": 100,
            "n_cells": 10,
            "intervals": {
                "macro_f1": {"low": low, "high": high},
                "f1_spread": dict(zip(("low", "high"), spread, strict=True)),
            },
            "per_class": {"a": {"f1": 0.8}, "b": {"f1": 0.9}},
        },
        "gradcam": {
            f"energy_{region}": energy,
            f"area_{region}": 0.2,
            "gain_intervals": {region: [0.1, 0.2]},
        },
        "ablations": {"stability": stability(fall)},
        "prediction": {"ms_per_image": ms},
    }


def checked(shares, failed=()):
    """Return the table of an explanation's checks, as far as the claim looks at it."""
    rows = []
    for method, verdict in shares.items():
        broken = "failed" if method in failed else "passed"
        rows += [
            {"method": method, "check": MOSTLY, "verdict": verdict},
            {"method": method, "check": "needs the weights", "verdict": broken},
        ]
    return [{**row, "value": 0.6, "low": 0.5, "high": 0.7} for row in rows]


@pytest.mark.parametrize(
    ("shares", "failed", "expected"),
    [
        ({"Grad-CAM": "passed", "SHAP, regions": "passed"}, (), CONFIRMED),
        ({"Grad-CAM": "failed", "SHAP, regions": "failed"}, (), REFUTED),
        ({"Grad-CAM": "failed", "SHAP, regions": "passed"}, (), UNDECIDED),
        ({"Grad-CAM": "undecided", "SHAP, regions": "passed"}, (), UNDECIDED),
        ({"Grad-CAM": "failed", "SHAP, regions": "passed"}, ("Grad-CAM",), CONFIRMED),
        ({"Grad-CAM": "passed"}, ("Grad-CAM",), UNDECIDED),
        ({"Grad-CAM": "passed", "cell outline": "failed", "random": "failed"}, (), CONFIRMED),
    ],
)
def test_the_nuclei_are_judged_by_the_methods_whose_word_counts(shares, failed, expected):
    found = {**artefacts(energy=0.3), "explanations": {"table": checked(shares, failed)}}
    row = judge_all(found).set_index("claim").loc["attention on the nuclei"]
    assert row["verdict"] == expected
    assert "cell outline" not in row["evidence"]


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
        ("consistent over the classes", {"spread": (0.01, 0.04)}, CONFIRMED),
        ("consistent over the classes", {"spread": (0.01, 0.2)}, UNDECIDED),
        ("consistent over the classes", {"spread": (0.06, 0.2)}, REFUTED),
        ("attention on the nuclei", {"energy": 0.7}, CONFIRMED),
        ("attention on the nuclei", {"energy": 0.3}, REFUTED),
        ("attention on the nuclei", {"energy": 0.7, "region": "box"}, UNDECIDED),
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


def gain(name, value, low, high, verdict):
    return {
        "gain": name, "value": value, "low": low, "high": high, "verdict": verdict,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        ((0.03, 0.01, 0.05, CONFIRMED), CONFIRMED),
        ((0.001, -0.01, 0.02, UNDECIDED), UNDECIDED),
        ((-0.03, -0.05, -0.01, REFUTED), REFUTED),
    ],
)
def test_copies_cure_only_where_they_beat_class_weights_too(copies, expected):
    claims = {"augmentation": {"evidence": "gain 0.05", "verdict": CONFIRMED}}
    both = [
        gain("weighted, not plain", 0.04, 0.01, 0.07, CONFIRMED),
        gain("augmented, not weighted", *copies),
    ]
    gains = [{**one, "score": score} for one in both for score in ("log_loss", "macro_f1")]
    table = judge_all({"ablations": {"claims": claims, "gains": gains}}).set_index("claim")
    found = table.loc["augmentation against imbalance"]
    assert found["verdict"] == expected
    assert "gain 0.05; class weights alone, without a copy, +0.040" in found["evidence"]
    assert table.loc["dropout against overfitting", "verdict"] == UNDECIDED


def test_images_without_known_cells_leave_three_claims_to_judge():
    """A folder of one's own has neither outlines nor ablations; the rest must not need them."""
    found = artefacts()
    found["gradcam"] = {"n_images": 10, "target": None, "verdict": UNDECIDED}
    found["ablations"] = {"cells_known": False, "reason": "the source photos are not known"}
    table = judge_all(found).set_index("claim")
    measured = table.index[table["evidence"] != "not measured in this run"]
    assert set(measured) == {"average F1 of 91 %", "consistent over the classes", "fast inference"}
