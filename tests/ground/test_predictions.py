"""The one table of predictions, made, taken apart and refused."""

import numpy as np
import pandas as pd
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.predictions import (
    clusters,
    from_predictions,
    label_index,
    likeliest,
    prob_columns,
    to_predictions,
)

CLASSES = ["a", "b", "c"]


def test_what_goes_in_comes_out_again():
    images = pd.DataFrame(
        {"path": ["1", "2"], "label": ["c", "a"], "cell": ["x", pd.NA], "split": "test"},
        index=[5, 9],
    )
    probs = np.array([[0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
    table = to_predictions(images, probs, CLASSES)
    assert list(table) == ["path", "label", "cell", *prob_columns(CLASSES), "predicted"]
    assert table["predicted"].tolist() == likeliest(table).tolist() == ["c", "b"]
    index, found, classes, cells = from_predictions(table.sample(frac=1, axis=1, random_state=0))
    assert (index.tolist(), classes) == ([2, 0], CLASSES)
    assert (found == probs).all()
    assert cells.isna().tolist() == [False, True]
    assert from_predictions(table.drop(columns="cell"))[3].isna().all()


def test_groups_go_along_where_no_cell_is_known():
    images = pd.DataFrame({"path": ["1", "2"], "label": ["c", "a"], "group": ["p", "q"]})
    probs = np.full((2, 3), 1 / 3)
    table = to_predictions(images.assign(cell=pd.NA), probs, CLASSES)
    assert list(table)[-2:] == ["predicted", "group"]
    assert table["group"].tolist() == ["p", "q"]
    assert "group" not in to_predictions(images.assign(cell=["x", "y"]), probs, CLASSES)
    for known, unit, names in (
        ({"cell": ["x", "y"]}, "cells", ["x", "y"]),
        ({"cell": pd.NA}, "groups", ["p", "q"]),
        ({"cell": pd.NA, "group": pd.NA}, "images", []),
    ):
        found = clusters(images.assign(**known))
        assert (list(found[0].dropna()), found[1]) == (names, unit)


def test_a_table_that_is_none_is_refused():
    table = pd.DataFrame({"path": ["1"], "label": ["a"]})
    with pytest.raises(HematoVisionError, match="prob_<class>"):
        from_predictions(table)
    with pytest.raises(HematoVisionError, match="basophil"):
        from_predictions(table.assign(prob_a=1.0), ["a", "basophil"])
    with pytest.raises(HematoVisionError, match="0 rows"):
        from_predictions(table.assign(prob_a=1.0).head(0))


@pytest.mark.parametrize("row", [(3.0, -2.0), (0.4, 0.4), (np.nan, 1.0), (np.inf, 0.0)])
def test_rows_that_are_no_probabilities_are_refused_in_one_line(row):
    table = pd.DataFrame({"label": ["a", "b"], "prob_a": [1.0, row[0]], "prob_b": [0.0, row[1]]})
    with pytest.raises(HematoVisionError, match="in row 1") as caught:
        from_predictions(table)
    assert "\n" not in str(caught.value)
    with pytest.raises(HematoVisionError, match="came upon c"):
        from_predictions(table.head(1).assign(label="c"))


def test_labels_become_positions():
    assert label_index(["b", "a", "b"], ["a", "b"]).tolist() == [1, 0, 1]
    with pytest.raises(HematoVisionError, match="came upon basophil"):
        label_index(["a", "basophil"], ["a", "b"])
