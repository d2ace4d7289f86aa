"""Cutting an image: what is there is named, and what cannot be cut is told in one line."""

import numpy as np
import pytest

from hv_utils.drawn.smear import draw_photo
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.reading import resize
from hv_utils.studies import regions
from hv_utils.studies.regions import NAMES, Regions, fills, found_outlines, painted, smear_regions

SIZE = (120, 160)


@pytest.fixture(scope="module")
def photo():
    return draw_photo("monocyte", rng=np.random.default_rng(3))


def test_a_smear_is_nucleus_cytoplasm_red_cells_and_ground(photo):
    nucleus, cell = photo.nucleus_mask, photo.cell_mask
    found = smear_regions(photo.image, nucleus, cell)
    assert found.names == NAMES
    np.testing.assert_array_equal(found.labels == 0, nucleus)
    np.testing.assert_array_equal(found.labels == 1, cell & ~nucleus)
    brightness = [photo.image[found.labels == k].mean() for k in range(4)]
    assert brightness[0] < brightness[2] < brightness[3], "red cells are darker than the ground"


def test_a_map_spread_over_regions_keeps_the_weights(photo):
    found = smear_regions(photo.image, photo.nucleus_mask, photo.cell_mask)
    weights = np.array([[3.0, 1.0, -2.0, 0.5], [0, 0, 0, 1]])
    spread = found.spread(weights)
    sums = [[one[found.labels == k].sum() for k in range(4)] for one in spread]
    np.testing.assert_allclose(sums, weights, rtol=1e-3, atol=1e-4)
    assert found.ceiling(photo.nucleus_mask) == 1
    halves = Regions.of((np.arange(20) < 10).astype(int)[None].repeat(4, 0))
    mask = np.zeros((4, 20), bool)
    mask[:, :4] = True
    assert halves.ceiling(mask) == pytest.approx(0.4)


def test_no_nucleus_and_one_region_alone_are_refused(photo):
    nothing = np.zeros(photo.image.shape[:2], bool)
    with pytest.raises(HematoVisionError, match="none is found"):
        smear_regions(photo.image, nothing, nothing)
    with pytest.raises(HematoVisionError, match="at least two regions"):
        smear_regions(photo.image, ~nothing, ~nothing)
    with pytest.raises(HematoVisionError, match="outlines of the image's"):
        smear_regions(photo.image, nothing[:5], nothing[:5])
    grey = np.full((*SIZE, 3), 200, np.uint8)
    with pytest.raises(HematoVisionError, match="none is found"):
        found_outlines(grey)
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    with pytest.raises(HematoVisionError, match="expected"):
        found_outlines(noise)


def test_the_finder_sees_about_the_true_nucleus(photo):
    found, nucleus = found_outlines(photo.image), photo.nucleus_mask
    both = (found["nucleus"] & nucleus).sum() / (found["nucleus"] | nucleus).sum()
    assert both > 0.6
    assert found["cell"][found["nucleus"]].all()


def test_superpixels_of_any_image(photo):
    pytest.importorskip("lime")
    assert 4 <= len(regions.superpixels(resize(photo.image, SIZE), 12).names) <= 14
    tiny = resize(photo.image, (30, 30))
    assert len(regions.superpixels(tiny, 16).names) >= 2
    with pytest.raises(HematoVisionError, match="at least two superpixels"):
        regions.superpixels(tiny, 1)
    with pytest.raises(HematoVisionError, match="at least two regions"):
        regions.superpixels(np.full((30, 30, 3), 9, np.uint8)[:1, :1], 4)


def test_without_the_extra_one_line_says_what_to_install(photo, monkeypatch):
    monkeypatch.setattr(regions, "EXTRA", ("no_such_package",))
    assert not regions.extra_is_there()
    with pytest.raises(HematoVisionError, match="pip install lime shap"):
        regions.superpixels(photo.image)


def test_painting_over_changes_what_is_hidden_alone(photo):
    hidden = np.zeros((2, *photo.image.shape[:2]), bool)
    hidden[1, :50] = True
    for fill in fills(photo.image).values():
        assert fill.shape == photo.image.shape
        assert fill.dtype == np.uint8
        shown = painted(photo.image, fill, hidden)
        np.testing.assert_array_equal(shown[0], photo.image)
        np.testing.assert_array_equal(shown[1, :50], fill[:50])
        np.testing.assert_array_equal(shown[1, 50:], photo.image[50:])
    assert len(np.unique(fills(photo.image)["ground"].reshape(-1, 3), axis=0)) == 1
