"""The sheets for exercises on paper."""

import numpy as np

from hv_utils.drawn.paper import counting_field, naming_sheet, sheets
from hv_utils.images.labels import CLASSES


def test_a_sheet_has_each_class_three_times_and_its_key_in_order():
    sheet = naming_sheet()
    assert sorted(sheet.key["class"]) == sorted([*CLASSES] * 3)
    assert list(sheet.key["number"]) == list(range(1, 13))
    assert list(naming_sheet(seed=1).key["class"]) != list(sheet.key["class"])


def test_sheets_are_the_same_each_time():
    for name, sheet in sheets().items():
        assert np.array_equal(sheets()[name].image, sheet.image)


def test_a_field_has_something_to_count():
    counts = counting_field().key.set_index("kind")["count"]
    assert counts["red"] > 15
    assert counts["platelets"] > 2
