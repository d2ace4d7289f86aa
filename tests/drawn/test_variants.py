"""The look-alikes: rates that add up, whole cells at these rates, and names that are known."""

import numpy as np
import pytest

from hv_utils.drawn.variants import (
    LOOK_ALIKES,
    TYPICAL,
    draw_variant,
    look_alike_table,
    quotas,
    shares_of,
)
from hv_utils.images.labels import CLASSES


@pytest.mark.parametrize("label", CLASSES)
def test_rates_add_up_and_most_cells_are_textbook_cells(label):
    shares = shares_of(label)
    assert next(iter(shares)) == TYPICAL
    assert sum(shares.values()) == pytest.approx(1)
    assert 0.5 < shares[TYPICAL] < 1


def test_a_look_alike_resembles_another_class():
    for one in LOOK_ALIKES:
        assert {one.label, one.resembles} <= set(CLASSES)
        assert one.label != one.resembles


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_quotas_are_as_near_to_the_rates_as_whole_cells_can_be(label, n):
    variants = quotas(label, n)
    assert len(variants) == n
    for name, share in shares_of(label).items():
        assert abs(variants.count(name) - share * n) < 1


def test_variants_are_drawn_at_their_rates():
    rng = np.random.default_rng(0)
    drawn = [draw_variant("neutrophil", rng) for _ in range(2000)]
    for name, share in shares_of("neutrophil").items():
        assert drawn.count(name) / len(drawn) == pytest.approx(share, abs=0.03)


def test_the_table_tells_every_look_alike():
    table = look_alike_table()
    assert list(table["drawn as"]) == [one.variant for one in LOOK_ALIKES]
    assert set(look_alike_table(["monocyte"])["class"]) == {"monocyte"}
