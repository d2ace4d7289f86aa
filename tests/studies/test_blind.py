"""The blind form: what it gives away, and what its answers come to."""

import numpy as np
import pandas as pd
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.studies.blind import agreement, draw_form

CLASSES = ["eosinophil", "neutrophil"]


@pytest.fixture
def judged():
    """Forty cells, the first ten of them suspects."""
    labels = np.resize(CLASSES, 40)
    return pd.DataFrame(
        {
            "cell": [f"{n:05d}" for n in range(40)],
            "label": labels,
            "suggested": np.roll(labels, 1),
            "disagrees": np.arange(40) < 10,
            "margin": np.linspace(0.5, -0.9, 40) - 0.13,
        }
    )


def test_the_form_gives_nothing_away(judged):
    form, key = draw_form(judged, n_cells=16, seed=3)
    assert list(form.columns) == ["number", "class"]
    assert set(form["class"]) == {""}
    assert list(form["number"]) == list(range(1, 17))
    assert key["disagrees"].sum() == 8
    assert key["cell"].is_unique
    assert not key["disagrees"].head(8).all(), "suspects do not come first"
    assert draw_form(judged, n_cells=16, seed=3)[1].equals(key)
    few = draw_form(judged[~judged["disagrees"]], n_cells=16)[1]
    assert len(few) == 16, "without suspects the others fill the form"


def test_readers_are_compared_with_each_other_the_label_and_the_model(judged):
    form, key = draw_form(judged, n_cells=16, seed=0)
    true_to_label = form.assign(**{"class": key["label"].str.upper() + " "})
    with_model = form.assign(**{"class": key["label"].where(~key["disagrees"], key["verdict"])})
    found = agreement(key, true_to_label, with_model, CLASSES).set_index(["between", "part"])
    assert found.loc[("first and label", "all"), ["agree", "kappa"]].tolist() == [1, 1]
    assert found.loc[("first and second", "suspects"), "agree"] == 0
    assert found.loc[("first and second", "suspects"), "kappa"] < 0
    assert found.loc[("second and verdict", "suspects"), "agree"] == 1
    assert found.loc[("second and label", "others"), "cells"] == 8


@pytest.mark.parametrize(("answer", "shown"), [("basophil", "'basophil'"), ("", "''")])
def test_an_answer_that_is_none_is_one_line(judged, answer, shown):
    form, key = draw_form(judged, n_cells=16)
    full = form.assign(**{"class": key["label"]})
    full.loc[4, "class"] = answer
    with pytest.raises(HematoVisionError, match=f"the second form says {shown} for cell 5"):
        agreement(key, form.assign(**{"class": key["label"]}), full, CLASSES)
    with pytest.raises(HematoVisionError, match="the first form says 'nothing' for cell 16"):
        agreement(key, full.head(15).assign(**{"class": "neutrophil"}), full, CLASSES)
