"""The standard view: the cell in the middle, at one scale, whatever the picture's own."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from hv_utils.drawn.smear import draw_photo
from hv_utils.fields.finder import find_cells
from hv_utils.fields.view import (
    GROUND,
    VIEW_SIDE,
    VIEW_UM,
    in_hue,
    main_cell,
    stain_hue,
    stain_levels,
    standard_view,
    to_density,
    to_light,
)
from hv_utils.images.labels import CLASSES


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(2)
    return [draw_photo(label, rng=rng) for label in CLASSES]


def viewed(image, **options):
    found = find_cells(image, **options)
    return standard_view(image, found, main_cell(found))


def nucleus_of(view):
    """Return middle and area of the nucleus in a view, in its pixels."""
    cell = main_cell(find_cells(view, um_per_pixel=VIEW_UM))
    return (cell.x, cell.y), cell.nucleus_um2 / VIEW_UM**2


def test_the_cell_is_in_the_middle_at_the_asked_scale(photos):
    for photo in photos:
        found = find_cells(photo.image)
        cell = main_cell(found)
        view = standard_view(photo.image, found, cell)
        assert view.shape == (VIEW_SIDE, VIEW_SIDE, 3)
        assert view.dtype == np.uint8
        middle, area = nucleus_of(view)
        assert middle == pytest.approx((VIEW_SIDE / 2, VIEW_SIDE / 2), abs=10)
        zoom = found.um_per_pixel / VIEW_UM
        assert area == pytest.approx(photo.nucleus_mask.sum() * zoom**2, rel=0.15)


def test_a_dot_lands_in_the_middle_to_a_pixel(photos):
    image = np.full((300, 400, 3), 240, np.uint8)
    found = find_cells(photos[0].image)
    for x, y, um in [(200, 150, 0.125), (120.5, 90.5, 0.05), (390, 290, 0.25)]:
        spot = image.copy()
        cv2.circle(spot, (int(x), int(y)), 6, (90, 40, 120), -1)
        cell = replace(found.cells[0], x=int(x) + 0.5, y=int(y) + 0.5)
        known = replace(found, um_per_pixel=um, ground=np.array([240, 240, 240]), size=(300, 400))
        view = standard_view(spot, known, cell)
        ys, xs = np.nonzero(view[..., 1] < 140)
        assert (xs.mean(), ys.mean()) == pytest.approx((79.5, 79.5), abs=0.6)
        assert len(xs) == pytest.approx(np.pi * (6.4 * um / VIEW_UM) ** 2, rel=0.25)


@pytest.mark.parametrize("zoom", [0.4, 0.6, 2.0])
def test_two_sizes_of_one_photo_give_nearly_the_same_view(photos, zoom):
    for photo in photos:
        other = cv2.resize(photo.image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        given = viewed(photo.image, um_per_pixel=0.072), viewed(other, um_per_pixel=0.072 / zoom)
        assert np.abs(given[0].astype(int) - given[1]).mean() < 6
        areas = [nucleus_of(view)[1] for view in (viewed(photo.image), viewed(other))]
        assert areas[0] == pytest.approx(areas[1], rel=0.3)


def test_two_lamps_give_nearly_the_same_view(photos):
    yellow = np.round(photos[0].image * np.array([1.0, 0.93, 0.75])).astype(np.uint8)
    views = [viewed(image, um_per_pixel=0.072) for image in (photos[0].image, yellow)]
    assert np.abs(views[0].astype(int) - views[1]).mean() < 4
    assert np.abs(photos[0].image.astype(int) - yellow).mean() > 15


def test_black_borders_become_ground(photos):
    photo = photos[0]
    ys, xs = np.nonzero(photo.cell_mask)
    bordered = photo.image.copy()
    bordered[:, : max(xs.min() - 8, 0)] = 0
    bordered[ys.max() + 8 :] = 0
    view = viewed(bordered)
    assert (view.max(axis=2) < 40).mean() == 0
    assert (np.abs(view.astype(int) - GROUND).max(axis=2) <= 1).mean() > 0.1


def test_what_lies_outside_has_the_grounds_grey(photos):
    found = find_cells(photos[0].image)
    corner = replace(found.cells[0], x=0.0, y=0.0)
    view = standard_view(photos[0].image, found, corner)
    assert (view[:75, :75] == GROUND).all()


def test_the_main_cell_is_near_the_middle_and_whole(photos):
    found = find_cells(photos[0].image)
    cell = replace(found.cells[0], nucleus_um2=50.0, cut=False)
    height, width = found.size
    middle = replace(cell, x=width / 2, y=height / 2)
    corner = replace(cell, x=30.0, y=30.0, nucleus_um2=60.0)
    cut = replace(middle, cut=True, nucleus_um2=70.0)
    speck = replace(middle, nucleus_um2=3.0, kind="small")
    assert main_cell(replace(found, cells=[corner, middle])) is middle
    assert main_cell(replace(found, cells=[cut, middle])) is middle
    assert main_cell(replace(found, cells=[cell, speck])) is cell


def test_two_stains_come_to_one_hue_and_stay_as_strong(photos):
    views = [viewed(photo.image, um_per_pixel=0.072) for photo in photos]
    # A stain that hardly takes up red has no hue that a camera could tell.
    strongly = [view for view in views if stain_levels(view)[0] > 0.3]
    assert len(strongly) >= 2
    for view in strongly:
        magenta = to_light(to_density(view) * np.array([0.6, 1.1, 1.4], np.float32))
        hue = stain_hue(view)
        assert np.abs(stain_hue(magenta) - hue).max() > 0.05
        back = in_hue(magenta, hue)
        np.testing.assert_allclose(stain_hue(back), hue, atol=0.02)
        apart = [np.abs(other.astype(int) - view).mean() for other in (back, magenta)]
        assert apart[0] < 0.6 * apart[1]
        strong = stain_levels(magenta).sum()
        assert stain_levels(back).sum() == pytest.approx(strong, rel=0.1)
        np.testing.assert_allclose(in_hue(view, hue), view, atol=1)
