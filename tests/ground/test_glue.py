"""A glued number is one that a page can format."""

import numpy as np
import pytest

from hv_utils.ground.glue import PREFIX, glue


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (np.float64(0.5), "0.5"), (np.int64(3), "3"), ("a", "'a'")],
)
def test_numbers_are_kept_as_numbers(monkeypatch, value, text):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append(data))
    glue("n", value)
    assert shown == [{f"{PREFIX}text/plain": text}]
