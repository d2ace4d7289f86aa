"""The reasons of a mistake: each asked in its order, and every image counted once."""

import pandas as pd
import pytest

from hv_utils.studies.reasons import (
    CUT_OFF,
    LOOK_ALIKE,
    NONE_KNOWN,
    REASONS,
    WRONG_LABEL,
    mistakes_by_reason,
    reasons_of,
)

IMAGES = pd.DataFrame(
    [
        ("a", "neutrophil", "neutrophil", "typical", 1.0, "1"),
        ("b", "neutrophil", "lymphocyte", "typical", 0.5, "2"),
        ("c", "neutrophil", "neutrophil", "band", 0.89, "3"),
        ("d", "neutrophil", "neutrophil", "band", 0.90, "3"),
        ("e", "monocyte", "monocyte", "typical", 1.0, "4"),
    ],
    columns=["path", "label", "drawn_as", "variant", "inside", "cell"],
    index=[3, 1, 4, 0, 2],
)


def test_the_first_reason_that_holds_is_given():
    expected = [NONE_KNOWN, WRONG_LABEL, CUT_OFF, LOOK_ALIKE, NONE_KNOWN]
    assert list(reasons_of(IMAGES)) == expected
    assert list(reasons_of(IMAGES).index) == list(IMAGES.index)
    assert reasons_of(IMAGES, least=0.8).loc[4] == LOOK_ALIKE


def test_mistakes_are_counted_under_their_reason_whatever_the_order_of_the_rows():
    predictions = pd.DataFrame(
        {
            "path": ["d", "a", "b", "e"],
            "label": ["neutrophil", "neutrophil", "neutrophil", "monocyte"],
            "predicted": ["monocyte", "neutrophil", "lymphocyte", "monocyte"],
        }
    )
    table = mistakes_by_reason(predictions, IMAGES)
    assert list(table.index) == list(REASONS)
    assert dict(table["mistakes"]) == {WRONG_LABEL: 1, CUT_OFF: 0, LOOK_ALIKE: 1, NONE_KNOWN: 0}
    assert table["images"].sum() == len(predictions)
    assert table.loc[NONE_KNOWN, ["images", "cells", "share"]].tolist() == [2, 2, 0]
    assert table.loc[LOOK_ALIKE, "share"] == pytest.approx(1)
    assert pd.isna(table.loc[CUT_OFF, "share"])
