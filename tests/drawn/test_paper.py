"""The sheets for exercises on paper."""

import numpy as np

from hv_utils.drawn.paper import AT_LEAST, contact_sheet, counting_field, naming_sheet, sheets
from hv_utils.drawn.variants import LOOK_ALIKES, TYPICAL
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


def test_the_contact_sheet_has_forty_cells_on_a4_and_look_alikes_among_them():
    sheet = contact_sheet()
    height, width = sheet.image.shape[:2]
    assert abs(height / width - 297 / 210) < 1e-3
    assert list(sheet.key["number"]) == list(range(1, 41))
    counts = sheet.key["class"].value_counts()
    assert set(counts.index) == {*CLASSES}
    assert counts.min() >= AT_LEAST
    assert counts.nunique() > 1, "the last ones cannot be counted out"
    alike = sheet.key[sheet.key["variant"] != TYPICAL]
    marks = {(one.label, one.variant): one.told_by for one in LOOK_ALIKES}
    assert 4 <= len(alike) <= 14
    for row in alike.itertuples():
        assert row.told_by == marks[row._2, row.variant]
    assert not contact_sheet(seed=1).key.equals(sheet.key)
