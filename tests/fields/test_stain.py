"""Ground, border and density of pictures whose colours are known."""

import numpy as np
import pytest

from hv_utils.fields.stain import ground_colour, inside_border, optical_density, otsu


def test_the_ground_is_the_commonest_of_the_bright_colours():
    image = np.full((100, 100, 3), (240, 225, 180), np.uint8)  # a yellow lamp
    image[:60, :60] = (200, 140, 130)
    image[:5, :5] = 255  # glare
    everywhere = np.ones((100, 100), bool)
    assert ground_colour(image, everywhere) == pytest.approx([240, 225, 180])
    image[:, 90:] = 0
    assert ground_colour(image, inside_border(image)) == pytest.approx([240, 225, 180])


def test_densities_of_two_layers_add_up():
    ground = np.array([240, 230, 220])
    layer = np.array([0.8, 0.5, 0.9])
    once, twice = ((ground + 4) * layer**n - 4 for n in (1, 2))
    image = np.round([[ground, once, twice]]).astype(np.uint8)
    density = optical_density(image, ground)[0]
    assert density[0] == pytest.approx(0, abs=1e-6)
    assert density[2] == pytest.approx(2 * density[1], abs=0.01)
    assert density[1] == pytest.approx(-np.log(layer), abs=0.01)


def test_black_is_border_only_where_it_touches_the_edge():
    image = np.full((60, 80, 3), 200, np.uint8)
    image[:10] = 0
    image[30:40, 30:40] = 10  # a dark nucleus
    inside = inside_border(image)
    assert not inside[:12].any()
    assert inside[12:].all()
    assert not inside_border(np.zeros((20, 20, 3), np.uint8)).any()


def test_otsu_parts_two_groups():
    values = np.concatenate([np.linspace(0, 0.1, 50), np.linspace(0.8, 1, 30)])
    assert 0.1 <= otsu(values) < 0.8
    assert otsu(np.full(5, 0.3)) == 0.3
