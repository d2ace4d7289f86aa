import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from fake_predictions import CLASSES, predictions
from hv_utils.scores.metrics import (
    confident_mistakes,
    headline_table,
    per_cell,
    score,
    wilson,
)


def scored(table, **options):
    return score(table, n_resamples=200, **options)


def test_scores_are_those_of_scikit_learn():
    table = predictions()
    result = scored(table)
    true, predicted = table["label"], table["predicted"]
    assert result["n_images"] == len(table)
    assert result["n_cells"] == 24
    assert result["classes"] == CLASSES
    assert result["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
    assert result["macro_f1"] == pytest.approx(sk.f1_score(true, predicted, average="macro"))
    assert result["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(true, predicted))
    assert result["confusion_matrix"] == sk.confusion_matrix(true, predicted).tolist()
    probs = table[[f"prob_{name}" for name in CLASSES]]
    area = sk.roc_auc_score(true, probs, multi_class="ovr", average="macro", labels=CLASSES)
    assert result["roc_auc"] == pytest.approx(area)
    report = sk.classification_report(true, predicted, output_dict=True)
    for name, row in result["per_class"].items():
        assert row["precision"] == pytest.approx(report[name]["precision"])
        assert row["recall"] == pytest.approx(report[name]["recall"])
        assert row["f1"] == pytest.approx(report[name]["f1-score"])
        assert row["support"] == report[name]["support"]


def test_rows_of_the_confusion_matrix_are_true_and_columns_predicted():
    probs = {"prob_a": [0.2, 0.9, 0.3], "prob_b": [0.8, 0.1, 0.7]}
    result = score(pd.DataFrame({"label": ["a", "a", "b"], **probs}))
    assert result["confusion_matrix"] == [[1, 1], [0, 1]]


def test_every_headline_has_its_interval_per_image_and_per_cell():
    result = scored(predictions())
    rows = headline_table(result)
    assert len(rows) == 12
    assert ((rows["low"] <= rows["value"] + 0.05) & (rows["high"] >= rows["value"] - 0.05)).all()
    assert result["intervals"]["macro_f1"]["method"] == "cluster bootstrap over cells"
    assert result["intervals"]["macro_f1"]["n_resamples"] == 200
    assert set(result["intervals"]) == set(result["per_cell"]["intervals"])
    assert {f"f1_{name}" for name in CLASSES} <= set(result["intervals"])


def test_result_is_plain_json():
    text = json.dumps(scored(predictions()), allow_nan=False)
    assert json.loads(text)["per_class"]["monocyte"]["support"] == 60


def test_without_cells_there_is_one_score_per_image_only():
    table = predictions().assign(cell=pd.NA)
    result = scored(table)
    assert result["n_cells"] is None
    assert result["per_cell"] is None
    assert result["leave_one_cell_out"] is None
    assert result["intervals"]["accuracy"]["method"] == "bootstrap over images"
    assert set(headline_table(result)["level"]) == {"per image"}


def test_per_cell_averages_the_probabilities():
    table = predictions()
    cells = per_cell(table)
    first = table[table["cell"] == "00003"]
    row = cells[cells["cell"] == "00003"].iloc[0]
    assert row["prob_monocyte"] == pytest.approx(first["prob_monocyte"].mean())
    assert row["share_right"] == pytest.approx((first["label"] == first["predicted"]).mean())
    assert row["n_images"] == 10
    probs = cells[[f"prob_{name}" for name in CLASSES]].to_numpy()
    assert (cells["predicted"] == np.array(CLASSES)[probs.argmax(1)]).all()
    result = scored(table)["per_cell"]
    expected = sk.f1_score(cells["label"], cells["predicted"], average="macro")
    assert result["n_cells"] == 24
    assert result["macro_f1"] == pytest.approx(expected)


def test_rows_without_a_cell_count_per_image_but_not_per_cell():
    table = predictions()
    table.loc[:4, "cell"] = pd.NA
    result = scored(table)
    assert result["n_images"] == 240
    assert per_cell(table)["n_images"].sum() == 235
    assert result["intervals"]["accuracy"]["n_clusters"] == 24 + 5


def test_classes_are_read_from_the_table():
    table = predictions(classes=["basophil", "blast", "platelet"])
    assert scored(table)["classes"] == ["basophil", "blast", "platelet"]


def test_a_class_without_images_is_left_out_of_the_means():
    table = predictions()
    table = table[table["label"] != "monocyte"]
    result = scored(table)
    rest = [row["f1"] for name, row in result["per_class"].items() if name != "monocyte"]
    assert result["per_class"]["monocyte"]["support"] == 0
    assert result["macro_f1"] == pytest.approx(np.mean(rest))
    assert result["intervals"]["f1_monocyte"]["low"] is None


def test_all_right_has_a_wilson_interval_of_some_width():
    table = predictions(sharpness=1)
    for name in CLASSES:
        table[f"prob_{name}"] = (table["label"] == name).astype(float)
    cells = scored(table)["per_cell"]
    assert cells["intervals"]["accuracy"]["low"] == 1
    assert cells["accuracy_wilson"]["low"] < 0.9


def test_wilson_is_the_published_interval():
    # 60 of 100: 50.2 % to 69.1 %
    found = wilson(60, 100)
    assert (round(found["low"], 3), round(found["high"], 3)) == (0.502, 0.691)


def test_confident_mistakes_show_one_image_of_a_cell():
    table = predictions()
    found = confident_mistakes(table, n=5)
    assert (found["label"] != found["predicted"]).all()
    assert found["cell"].is_unique
    assert found["confidence"].is_monotonic_decreasing
    wrong = table[table["label"] != table["predicted"]].filter(like="prob_").max(axis=1)
    assert found["confidence"].iloc[0] == pytest.approx(wrong.max())
    right = table[table["label"] == table["predicted"]]
    assert confident_mistakes(right).empty
    assert len(confident_mistakes(table.assign(cell=pd.NA), n=5)) == 5
