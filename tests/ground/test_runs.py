"""The run folder: tables come back as they were written."""

import os

import pandas as pd
import pytest

from hv_utils.ground.runs import Run

NAMES = ["01", "1", "1.0", "1e3", "NULL", "nan", "NA", "None", "n/a", "True", "-", "#N/A", "null"]


def test_labels_come_back_as_text(tmp_path):
    run = Run.open(tmp_path)
    table = pd.DataFrame({"path": NAMES, "label": NAMES, "predicted": NAMES, "prob_01": 0.5})
    table["cell"] = pd.Series([*NAMES[:-1], pd.NA], dtype="string")
    run.write_table("a.csv", table)
    read = run.read_table("a.csv")
    for column in ("path", "label", "predicted"):
        assert list(read[column]) == NAMES
    assert list(read["cell"][:-1]) == NAMES[:-1]
    assert read["cell"].isna().sum() == 1
    assert read["prob_01"].dtype == float


@pytest.mark.parametrize("names", [NAMES[:2], NAMES[4:8], ["True", "False"]])
def test_a_column_of_one_kind_of_number_is_text_too(tmp_path, names):
    run = Run.open(tmp_path)
    run.write_table("a.csv", pd.DataFrame({"label": names, "n": range(len(names))}))
    assert list(run.read_table("a.csv")["label"]) == names


def test_what_is_missing_is_missing(tmp_path):
    run = Run.open(tmp_path)
    table = pd.DataFrame({"label": ["a", None], "cell": [None, "7"], "x": [1.5, None]})
    run.write_table("a.csv", table)
    read = run.read_table("a.csv")
    assert read.isna().sum().to_dict() == {"label": 1, "cell": 1, "x": 1}


@pytest.mark.skipif(os.name == "nt", reason="names there are always text")
def test_a_file_name_that_is_no_text_comes_back(tmp_path):
    run, path = Run.open(tmp_path), os.fsdecode(b"/data/caf\xe9.png")
    run.write_table("a.csv", pd.DataFrame({"path": [path], "label": ["a"]}))
    assert list(run.read_table("a.csv")["path"]) == [path]
