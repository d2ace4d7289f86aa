"""What the ablations found, as the pages take it: whole, in part, and not at all."""

import json

import numpy as np
import pandas as pd

from hv_utils.ground.files import dump_json
from hv_utils.studies import ablation_report

GAIN = {"gain": "augmented, not plain", "score": "macro_f1", "value": 0.05, "low": 0.01}
GAIN |= {"high": 0.09, "verdict": "confirmed"}


def test_a_gain_is_found_by_name_and_score():
    table = pd.DataFrame([{**GAIN, "score": "log_loss", "value": 1.0}, GAIN])
    assert ablation_report.gain_of(table, "augmented, not plain") == GAIN
    assert ablation_report.gain_of(table, "augmented, not plain", "log_loss")["value"] == 1
    nothing = ablation_report.gain_of(pd.DataFrame(), "augmented, not plain")
    assert nothing["verdict"] == "not judged"


def test_claims_carry_their_evidence():
    found = ablation_report.claims({"dropout": GAIN}, n_cells=7)["dropout"]
    assert found["verdict"] == "confirmed"
    assert found["evidence"].startswith("+0.050 (+0.010 to +0.090) macro-F1 on 7 held-out cells")


def test_the_prose_gets_the_same_names_whatever_was_measured():
    result = {
        "scores": [{"condition": "plain", "score": "macro_f1", "value": 0.7}],
        "gains": [GAIN],
        "claims": ablation_report.claims({"augmentation": GAIN}, n_cells=7),
        "stability": {"sd": 0.02, "verdict": "undecided"},
    }
    numbers, verdicts = ablation_report.glue_values(json.loads(dump_json(result)))
    assert (numbers["f1_plain"], numbers["gain_low"], numbers["seed_sd"]) == (0.7, 0.01, 0.02)
    assert np.isnan(numbers["f1_weighted"])
    assert verdicts["verdict_augmentation"] == "confirmed"
    assert verdicts["verdict_stable"] == "undecided"
    none, unjudged = ablation_report.glue_values({"cells_known": False})
    assert set(none) == set(numbers)
    assert set(unjudged) == set(verdicts)
    assert np.isnan(list(none.values())).all()
    assert set(unjudged.values()) == {"not judged"}
