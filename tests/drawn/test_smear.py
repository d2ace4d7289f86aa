"""The drawn smear: true outlines, ratios as measured, and each class with its marks."""

import cv2
import numpy as np
import pytest

from hv_utils.drawn.drawing import (
    Outline,
    arc,
    capsule,
    density,
    ellipse,
    patch_grid,
    smooth_noise,
    step,
)
from hv_utils.drawn.nucleus import fit
from hv_utils.drawn.smear import draw_photo
from hv_utils.drawn.variants import TYPICAL
from hv_utils.drawn.white_cell import draw_white_cell
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES, MICROMETRES_PER_PIXEL, MORPHOLOGY

CELLS_PER_CLASS = 40


def rng(*seed):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def cells():
    """Draw textbook cells of each class, without the smear round them."""
    return {
        label: [
            draw_white_cell(label, rng=rng(7, k, i), variant=TYPICAL)
            for i in range(CELLS_PER_CLASS)
        ]
        for k, label in enumerate(CLASSES)
    }


@pytest.fixture(scope="module")
def photos():
    """Draw a few whole photos of each class."""
    return {
        label: [draw_photo(label, rng=rng(8, k, i)) for i in range(5)]
        for k, label in enumerate(CLASSES)
    }


def solidity(mask):
    """Return the area of a shape over that of its convex hull: 1 for a round one."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(outlines))
    return mask.sum() / cv2.contourArea(hull)


def lobes(nucleus):
    """Count the parts that are left when filaments are worn away."""
    area = nucleus.sum()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    worn = cv2.erode(nucleus.astype(np.uint8), kernel, iterations=int(0.15 * np.sqrt(area)))
    count, _, facts, _ = cv2.connectedComponentsWithStats(worn)
    return sum(facts[i, cv2.CC_STAT_AREA] > 0.01 * area for i in range(1, count))


# The whole photo


def test_a_photo_has_the_promised_form(photos):
    for photo in (photo for several in photos.values() for photo in several):
        assert photo.image.shape == (480, 640, 3)
        assert photo.image.dtype == np.uint8
        assert photo.nucleus_mask.dtype == photo.cell_mask.dtype == bool
        assert photo.nucleus_mask.any()
        assert not (photo.nucleus_mask & ~photo.cell_mask).any(), "the nucleus lies in the cell"


def test_boxes_are_in_the_frame_and_the_first_is_the_white_cell(photos):
    for photo in (photo for several in photos.values() for photo in several):
        assert [box.name for box in photo.boxes].count("WBC") == 1
        assert {box.name for box in photo.boxes} <= {"WBC", "RBC", "Platelets"}
        for box in photo.boxes:
            assert 0 <= box.xmin < box.xmax < 640
            assert 0 <= box.ymin < box.ymax < 480
        rows, columns = np.nonzero(photo.cell_mask)
        white = photo.boxes[0]
        assert (white.xmin, white.xmax) == (columns.min(), columns.max())
        assert (white.ymin, white.ymax) == (rows.min(), rows.max())


def test_the_same_state_draws_the_same_photo_and_another_another():
    first, again, other = (draw_photo("monocyte", rng=rng(seed)).image for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_other_sizes_are_drawn_at_the_same_scale():
    small = draw_photo("lymphocyte", rng=rng(3), size=(240, 320))
    assert small.image.shape == (240, 320, 3)
    whole = draw_photo("lymphocyte", rng=rng(3))
    assert small.cell_mask.sum() == whole.cell_mask.sum(), "the same cell, in a smaller field"


def test_an_unknown_class_is_refused_in_one_line():
    with pytest.raises(HematoVisionError, match="expected a class that can be drawn") as caught:
        draw_photo("basophil", rng=rng(0))
    assert "\n" not in str(caught.value)


def test_the_ground_is_bright_and_the_nucleus_the_darkest_part(photos):
    for label, several in photos.items():
        for photo in several:
            grey = photo.image.mean(axis=2)
            plasma = np.percentile(grey, 95)
            assert 170 < plasma < 240, "plasma under the lamp"
            rest = photo.cell_mask & ~photo.nucleus_mask
            nucleus, cytoplasm = grey[photo.nucleus_mask].mean(), grey[rest].mean()
            assert nucleus < cytoplasm < plasma, label
            red, green, blue = photo.image[photo.nucleus_mask].mean(axis=0)
            assert blue > red > green, "purple"


def test_red_cells_are_pink_and_many_have_a_pale_middle(photos):
    paler = []
    for photo in (photo for several in photos.values() for photo in several):
        for box in (box for box in photo.boxes if box.name == "RBC"):
            wide, high = box.xmax - box.xmin, box.ymax - box.ymin
            if min(box.xmin, box.ymin) < 2 or box.xmax > 637 or box.ymax > 477:
                continue
            x, y = (box.xmin + box.xmax) // 2, (box.ymin + box.ymax) // 2
            middle = photo.image[y - 5 : y + 6, x - 5 : x + 6].mean(axis=(0, 1))
            rim = photo.image[y - 2 : y + 3, box.xmin + wide // 6 - 2 : box.xmin + wide // 6 + 3]
            assert 5.0 < (wide + high) / 2 * MICROMETRES_PER_PIXEL < 10.0
            assert rim[..., 0].mean() > rim[..., 2].mean(), "more red than blue"
            paler.append(middle.mean() - rim.mean())
    assert len(paler) > 50
    assert np.mean(np.array(paler) > 8) > 0.4, "central pallor"
    assert np.mean(np.array(paler) < 8) > 0.1, "but not in all"


# The white cell: sizes and ratios of the morphology table


@pytest.mark.parametrize("label", CLASSES)
def test_nucleus_to_cell_ratios_follow_the_measured_ones(cells, label):
    ratios = [cell.nucleus.sum() / cell.cell.sum() for cell in cells[label]]
    low, high = MORPHOLOGY[label].nc_range
    assert low < np.median(ratios) < high
    assert np.median(ratios) == pytest.approx(MORPHOLOGY[label].nc_median, abs=0.035)
    assert np.percentile(ratios, 90) - np.percentile(ratios, 10) > 0.4 * (high - low), "they vary"


@pytest.mark.parametrize("label", CLASSES)
def test_diameters_stay_in_the_usual_range_and_vary(cells, label):
    areas = np.array([cell.cell.sum() for cell in cells[label]])
    diameters = 2 * np.sqrt(areas / np.pi) * MICROMETRES_PER_PIXEL
    low, high = MORPHOLOGY[label].diameter_um
    # A pixel on either side is lost or gained where the outline is cut into pixels.
    assert low * 0.97 < diameters.min() < diameters.max() < high * 1.03
    assert np.ptp(diameters) > 0.3 * (high - low)


def test_contraction_makes_a_smaller_cell():
    spread, contracted = (
        draw_white_cell("neutrophil", rng=rng(5), contraction=share).cell.sum()
        for share in (1, 0.8)
    )
    assert contracted == pytest.approx(0.64 * spread, rel=0.03)


# The marks by which a haematologist tells the classes


def test_nuclei_are_round_or_lobed_as_their_class_wants(cells):
    shape = {
        label: np.median([solidity(cell.nucleus) for cell in several])
        for label, several in cells.items()
    }
    assert shape["lymphocyte"] > 0.95
    assert shape["neutrophil"] < 0.80
    assert shape["neutrophil"] < shape["eosinophil"] < shape["monocyte"] < shape["lymphocyte"]


def test_lobes_vary_within_the_neutrophils_and_eosinophils_mostly_have_two(cells):
    counts = {label: [lobes(cell.nucleus) for cell in cells[label]] for label in cells}
    assert len(set(counts["neutrophil"])) >= 3
    assert np.mean(counts["neutrophil"]) > np.mean(counts["eosinophil"]) > 1.3
    assert np.median(counts["eosinophil"]) == 2
    assert np.mean(np.array(counts["lymphocyte"]) == 1) == 1


def redness(cell):
    """Return how much more green and blue than red a cell's cytoplasm takes up."""
    rest = cell.cell & ~cell.nucleus
    taken = (cell.density + cell.eosin)[rest].mean(axis=0)
    return float(taken[1:].mean() - taken[0])


def test_eosinophils_are_red_and_some_have_few_granules(cells):
    red = {label: np.array([redness(cell) for cell in cells[label]]) for label in CLASSES}
    assert np.median(red["eosinophil"]) > 2 * np.median(red["neutrophil"])
    assert np.median(red["monocyte"]) < 0.05, "grey-blue"
    assert np.median(red["lymphocyte"]) < np.median(red["monocyte"]), "blue"
    # The look-alikes make the task hard: without them a threshold would do.
    bared, toxic = (
        [redness(draw_white_cell(label, rng=rng(9, i), variant=variant)) for i in range(12)]
        for label, variant in (("eosinophil", "hypogranular"), ("neutrophil", "toxic granulation"))
    )
    assert np.median(bared) < red["eosinophil"].min()
    assert np.median(toxic) > red["neutrophil"].max()


def test_granules_leave_the_nucleus_of_an_eosinophil_clear(cells):
    for cell in cells["eosinophil"]:
        deep = cv2.erode(cell.nucleus.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        rest = cell.cell & ~cell.nucleus
        assert cell.eosin[deep].mean() < 0.25 * cell.eosin[rest].mean()


def test_monocytes_are_the_largest_and_some_have_vacuoles(cells):
    area = {label: np.median([c.cell.sum() for c in cells[label]]) for label in CLASSES}
    assert max(area, key=area.get) == "monocyte"
    assert min(area, key=area.get) == "lymphocyte"
    pale = []
    for cell in cells["monocyte"]:
        deep = cv2.erode((cell.cell & ~cell.nucleus).astype(np.uint8), np.ones((9, 9), np.uint8))
        taken = cell.density[deep > 0].sum(axis=1)
        pale.append(np.mean(taken < 0.5 * np.median(taken)))
    assert 0.1 < np.mean(np.array(pale) > 0.002) < 1


# The strokes


def test_distances_are_negative_inside_and_true_on_a_circle():
    x, y = patch_grid(30)
    circle = ellipse(x, y, centre=(3, -2), half_axes=(10, 10), angle=1.0)
    np.testing.assert_allclose(circle, np.hypot(x - 3, y + 2) - 10, atol=1e-4)
    line = capsule(x, y, start=(-10, 0), end=(10, 0), radius=4)
    assert line[30, 30] == pytest.approx(-4)
    assert line[30, 30 + 20] == pytest.approx(6)
    bent = arc(x, y, centre=(0, 0), radius=15, half_span=0.8, angle=0, half_width=3)
    assert bent[30, 45] == pytest.approx(-3)
    assert bent[30, 30] == pytest.approx(12, abs=1e-3)
    assert bent[30, 15] > 20, "the far side of the ring is not part of the arc"


def test_an_outline_keeps_its_area():
    x, y = patch_grid(80)
    for seed in range(5):
        outline = Outline.draw(50, rng(seed), oval=0.1, rough=0.04)
        area = (outline.distance(x, y) < 0).sum()
        assert area == pytest.approx(np.pi * 50**2, rel=0.02)


def test_fit_gives_the_wanted_share_inside_the_cell():
    x, y = patch_grid(60)
    cell, shape = np.hypot(x, y) - 50, np.hypot(x - 20, y) - 20
    fitted = fit(shape, cell, ratio=0.4, margin=2, tolerance=100)
    assert ((fitted < 0) & (cell < 0)).sum() / (cell < 0).sum() == pytest.approx(0.4, abs=0.01)
    assert not ((fitted < 0) & (cell >= 0)).any()


def test_noise_and_steps_keep_their_ranges():
    noise = smooth_noise((90, 120), 8, rng(0))
    assert noise.shape == (90, 120)
    assert noise.mean() == pytest.approx(0, abs=1e-3)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    edge = step(np.linspace(-10, 10, 21, dtype=np.float32), 6)
    assert (edge[0], edge[10], edge[-1]) == (1, 0.5, 0)
    assert (np.diff(edge) <= 0).all()


def test_densities_turn_plasma_into_their_colour():
    wanted = (120, 90, 200)
    np.testing.assert_allclose(np.exp(-density(*wanted)) * (205, 206, 201), wanted, rtol=1e-4)
