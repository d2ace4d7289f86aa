"""The labelled sheet: a row for each look-alike, between the two classes that it lies between."""

import numpy as np

from hv_utils.drawn.sheet import look_alike_sheet
from hv_utils.drawn.variants import LOOK_ALIKES


def test_each_look_alike_stands_between_its_class_and_the_one_it_is_taken_for():
    images, captions = look_alike_sheet(per_row=1, side=160)
    assert len(images) == len(captions) == 3 * len(LOOK_ALIKES)
    for row, one in enumerate(LOOK_ALIKES):
        first, middle, last = captions[3 * row : 3 * row + 3]
        assert (first, last) == (f"{one.label}\ntextbook", f"{one.resembles}\ntextbook")
        assert middle.endswith(one.variant.replace(" ", "\n"))
    assert {caption.count("\n") for caption in captions} == {1}, "two lines each, none too wide"
    assert {(image.shape, image.dtype) for image in images} == {((160, 160, 3), np.dtype("uint8"))}


def test_the_same_seed_draws_the_same_sheet():
    first, again, other = (
        np.stack(look_alike_sheet(seed=seed, per_row=1, side=100)[0]) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
