"""The leak experiment in words: the same keys whatever is missing, and sentences by the figures."""

import json

import numpy as np
import pandas as pd
import pytest
from test_leak_scores import judged, repeats

from hv_utils.ground.files import dump_json
from hv_utils.studies import leak_report, leak_scores


def result(*, known=True):
    table = judged()
    table = table if known else table.assign(cell=pd.NA)
    schemes = ["random", "prefix", "source", "test"] if known else ["random", "test"]
    score = leak_scores.summarise(table, n_resamples=200)
    border = score | {"chance": leak_scores.chance(table), "verdict": "not told apart from chance"}
    pair = {"random": table, "source": judged(0.2)}
    return {
        "schemes": dict.fromkeys(schemes, score),
        "inflation": leak_scores.inflation(pair) if known else None,
        "border": dict.fromkeys(["source", "test"] if known else ["test"], border),
        "cross_validation": leak_scores.repeated_summary(repeats()) if known else None,
        "neighbours": {"random": {"sibling": 0.98}},
    }


def test_headlines_survive_the_file():
    found = result()
    kept = json.loads(dump_json(found))
    assert leak_report.headlines(kept) == leak_report.headlines(found)
    names = {"f1_random", "f1_prefix", "f1_source", "f1_test", "inflation", "border_f1"}
    assert set(leak_report.headlines(found)) == names | {"border_chance", "cv_mean"}
    assert all(score["low"] <= score["high"] for score in leak_report.headlines(found).values())


def test_builds_side_by_side():
    here, there = result(known=False), result()
    table = leak_report.comparison_table({"this build": here, "real data": there})
    assert list(table.columns) == ["this build", "real data"]
    assert table.loc["macro-F1, split by source photo", "this build"] == "n/a"
    value = there["schemes"]["source"]["image"]["macro_f1"]
    assert table.loc["macro-F1, split by source photo", "real data"].startswith(f"{value:.3f} (")
    assert table.loc["inflation (random minus by source)", "real data"].startswith("+")


def test_numbers_for_the_prose_are_the_same_keys_whatever_is_missing():
    full, poor = result(), result(known=False)
    values = leak_report.glue_values(full, full)
    assert values["f1_source"] == full["schemes"]["source"]["image"]["macro_f1"]
    assert values["real_f1_source"] == f"{values['f1_source']:.3f}"
    assert values["real_inflation"] == f"{full['inflation']['value']:+.3f}"
    assert values["n_cells_cv"] == 25
    assert values["real_n_cells_cv"] == "25"
    assert (values["real_n_train_images"], values["real_sibling"]) == ("150", "98%")
    missing = leak_report.glue_values(poor, None)
    assert set(missing) == set(values)
    assert np.isnan(missing["f1_source"])
    assert np.isnan(missing["cv_sd"])
    assert {missing[name] for name in missing if name.startswith("real_")} == {"n/a"}
    assert missing["inflation_reading"] == "could not be measured here"


@pytest.mark.parametrize(("low", "reading"), [(0.1, "is memory"), (-0.02, "cannot be told")])
def test_a_difference_is_memory_only_where_its_interval_says_so(low, reading):
    full = result()
    changed = {**full, "inflation": {**full["inflation"], "low": low}}
    assert leak_report.glue_values(changed, None)["inflation_reading"].startswith(reading)


def test_every_sentence_says_what_was_found():
    found = result()
    source, inflated = found["schemes"]["source"], found["inflation"]
    said = leak_report.inflation_sentence(inflated, found["schemes"], cells="drawn cells")
    assert f"150 images of 25 drawn cells: a random split **{inflated['verdict']}**" in said
    grouped = {"n_cells": None, "n_resampled": 9, "resampled": "groups"}
    schemes = {name: score | grouped for name, score in found["schemes"].items()}
    assert "150 images of 9 groups:" in leak_report.inflation_sentence(inflated, schemes)
    assert "cannot be measured" in leak_report.inflation_sentence(None, {})
    assert leak_report.splits_sentences(None, {}) == ""
    told = {**inflated, "value": 0.2, "low": 0.1}
    for prefix, word in ((0.05, "a cure, by luck"), (0.35, "half a cure"), (0.9, "no cure")):
        value = source["image"]["macro_f1"] + prefix * told["value"]
        schemes = {**found["schemes"], "prefix": {"image": {"macro_f1": value}}}
        assert f"**{word}**: {prefix:.0%} of" in leak_report.splits_sentences(told, schemes)
    apart = {**found["schemes"], "test": {"image": {"low": 0.99, "high": 1.0}}}
    assert "TRAIN alone, agrees with" in leak_report.splits_sentences(told, found["schemes"])
    assert "TRAIN alone, disagrees with" in leak_report.splits_sentences(told, apart)
    lines = leak_report.border_lines(found["border"]).splitlines()
    assert len(lines) == 2
    assert all(line.endswith("**not told apart from chance**") for line in lines)
    repeated = leak_report.repeated_lines(found["cross_validation"])
    assert repeated.startswith("150 images of 25 cells")


@pytest.mark.parametrize(("sd", "advice"), [(0.001, "more cells would"), (0.5, "repeat more")])
def test_the_cells_or_the_folds_leave_more_open(sd, advice):
    summary = result()["cross_validation"]
    image = {**summary["image"], "sd": sd}
    assert advice in leak_report.repeated_lines({**summary, "image": image})


@pytest.mark.parametrize("known", [True, False])
def test_lessons_need_no_source(known):
    found = result(known=known)
    border = found["border"]["source" if known else "test"]
    lines = leak_report.lessons(found)
    assert len(lines) == 3 + known
    assert "tells nothing that we can measure" in lines[2]
    border["verdict"] = "better than chance"
    assert "The border alone tells the class" in leak_report.lessons(found)[2]
