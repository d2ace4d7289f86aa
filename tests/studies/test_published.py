"""The published measurements belong to what is shipped, and their tables say what they hold."""

import json

import numpy as np
import pandas as pd
import pytest

from hv_utils.images.labels import CLASSES
from hv_utils.inference.onnx_model import SHIPPED_MODEL, facts_path
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.studies import published


def test_what_is_missing_gives_empty_tables(tmp_path):
    assert published.measurement("bench", folder=tmp_path) == {}
    assert published.recorded_predictions("native", folder=tmp_path).empty
    for table in (
        published.external_table({}),
        published.status_table({}, "hematovision"),
        published.separation_table({}, "travelling"),
        published.speed_table({}),
        published.service_table({}),
        published.ablation_table({}),
    ):
        assert table.empty


def test_cells_can_be_left_out_of_the_score():
    rng = np.random.default_rng(0)
    rows = []
    for number in range(16):
        label = CLASSES[number % 4]
        wrong = number < 4
        probs = np.full(4, 0.1)
        probs[(number + wrong) % 4] = 0.7
        for _ in range(3):
            named = {f"prob_{c}": p for c, p in zip(CLASSES, probs, strict=True)}
            rows.append(
                {"label": label, "cell": f"{number:05d}", "path": str(rng.random())} | named
            )
    table = pd.DataFrame(rows).assign(predicted=lambda t: t["label"])
    every = published.recorded_scores(table, n_resamples=200)
    assert (every["cells_right"], every["n_cells"]) == (12, 16)
    assert every["image"]["value"] == pytest.approx(0.75)
    assert every["cell"]["low"] < 0.75 < every["cell"]["high"]
    without = published.recorded_scores(table, left_out=["00000", "00001"], n_resamples=200)
    assert (without["cells_right"], without["n_cells"]) == (12, 14)
    assert without["image"]["value"] > 0.75


def test_photographs_of_one_cell_count_once_unless_their_labels_differ():
    table = pd.DataFrame({"cell": list("aabcd"), "label": list("xxxyx")})
    table = table.astype({"cell": "string"})
    pairs = pd.DataFrame(
        {
            "photo": ["a", "b", "a", "a"],
            "other": ["b", "c", "d", "z"],
            "same_cell": pd.array([True, True, False, True], dtype="boolean"),
        }
    )
    found = published.twins_as_one(table, pairs)
    assert found["cell"].tolist() == ["a", "a", "a", "c", "d"]


def test_the_measurements_are_of_the_shipped_models():
    home = json.loads(facts_path(SHIPPED_MODEL).read_text(encoding="utf-8"))["sha256"]
    cells = json.loads(facts_path(TRAVELLING_MODEL).read_text(encoding="utf-8"))["sha256"]
    assert home in published.measurement("external")["sha256"].values()
    measured = published.measurement("novelty")["models"]
    assert measured["hematovision"]["sha256"] == home
    assert measured["travelling"]["sha256"] == cells


def test_the_tables_of_the_published_measurements():
    novelty = published.measurement("novelty")
    for model in ("hematovision", "travelling"):
        statuses = published.status_table(novelty, model)
        assert statuses[["ok", "unsure", "not_a_cell"]].sum(axis=1).round(6).eq(1).all()
        parted = published.separation_table(novelty, model)
        assert set(statuses.index) - set(parted.index) == {"known"}
    within = published.separation_table(novelty, "hematovision", within=True)
    assert len(within) == 3
    assert within.index.str.startswith("near").all()
    elsewhere = published.external_table(published.measurement("external"))
    assert list(elsewhere.columns) == ["squeezed", "at scale", "at scale, white ground"]
    flagged = published.flagged_table(published.measurement("external"))
    assert flagged.shape == elsewhere.shape
    assert flagged.to_numpy(float).max() <= 1
    speed = published.speed_table(published.measurement("bench"))
    assert len(speed) == 5
    served = published.service_table(published.measurement("service"))
    assert len(served) == 12
    assert (served["ratio"] != "").sum() == 6
    ablations = published.ablation_table(published.measurement("ablations"))
    assert ablations["difference"].iloc[0] == ""
    assert (ablations["difference"].iloc[1:] != "").all()
