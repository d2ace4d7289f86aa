"""The plan: counts as asked for, look-alikes on both sides, twins across, labels that are wrong."""

from collections import Counter

import numpy as np
import pytest

from hv_utils.drawn.plan import DOUBTFUL, SLIPS, TWIN_SHARE, WRONG_SHARE, plan_photos
from hv_utils.drawn.variants import TYPICAL, quotas

PHOTOS = {"eosinophil": 15, "lymphocyte": 14, "monocyte": 11, "neutrophil": 22}


@pytest.fixture(scope="module")
def planned():
    return plan_photos(PHOTOS, test_fraction=0.4, rng=np.random.default_rng(0))


def usable(planned):
    return [one for one in planned if not one.doubt]


def test_labels_and_parts_are_as_asked_for(planned):
    assert Counter(one.label for one in usable(planned)) == PHOTOS
    for label, n in PHOTOS.items():
        tested = [one for one in usable(planned) if (one.label, one.part) == (label, "TEST")]
        assert len(tested) == round(0.4 * n)
    assert sorted(one.doubt for one in planned if one.doubt) == sorted(DOUBTFUL)


def test_look_alikes_are_on_both_sides_at_their_rates(planned):
    for label in PHOTOS:
        for part in ("TRAIN", "TEST"):
            drawn = [one for one in usable(planned) if (one.label, one.part) == (label, part)]
            # A wrong label takes the place of a textbook cell.
            assert Counter(one.variant for one in drawn) == Counter(quotas(label, len(drawn)))


def test_twins_lie_on_both_sides_and_show_the_same(planned):
    fields = Counter(one.field for one in planned)
    twins = [field for field, n in fields.items() if n > 1]
    assert len(twins) == int(TWIN_SHARE * sum(PHOTOS.values()))
    for field in twins:
        first, second = (one for one in planned if one.field == field)
        assert {first.part, second.part} == {"TRAIN", "TEST"}
        assert (first.label, first.drawn_as, first.variant) == (
            second.label,
            second.drawn_as,
            second.variant,
        )


def test_wrong_labels_are_slips_on_textbook_cells_without_a_twin(planned):
    wrong = [one for one in planned if one.label != one.drawn_as]
    assert len(wrong) == int(WRONG_SHARE * sum(PHOTOS.values()))
    assert {(one.label, one.drawn_as, one.part) for one in wrong} <= set(SLIPS)
    assert {one.part for one in wrong} == {"TRAIN", "TEST"}
    fields = Counter(one.field for one in planned)
    for one in wrong:
        assert one.variant == TYPICAL
        assert fields[one.field] == 1


def test_a_handful_of_photos_holds_neither_twins_nor_wrong_labels():
    few = plan_photos(
        {"lymphocyte": 4, "monocyte": 4}, test_fraction=0.2, rng=np.random.default_rng(0)
    )
    assert len({one.field for one in few}) == len(few)
    assert all(one.label == one.drawn_as for one in few)


def test_a_class_of_few_cells_is_spared():
    photos = {"eosinophil": 4, "lymphocyte": 4, "monocyte": 4, "neutrophil": 60}
    planned = usable(plan_photos(photos, test_fraction=0.5, rng=np.random.default_rng(0)))
    fields = Counter(one.field for one in planned)
    touched = {one.label for one in planned if one.label != one.drawn_as or fields[one.field] > 1}
    assert touched == {"neutrophil"}


def test_the_order_is_drawn_and_tells_nothing():
    plans = [
        plan_photos(PHOTOS, test_fraction=0.4, rng=np.random.default_rng(s)) for s in (0, 0, 1)
    ]
    assert plans[0] == plans[1] != plans[2]
    labels = [one.label for one in plans[0]]
    assert labels != sorted(labels)
