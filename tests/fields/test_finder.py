"""The finder: drawn cells are found with their nucleus, nothing is found where nothing is."""

import io
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import ROOT
from hv_utils.drawn.smear import draw_photo
from hv_utils.fields.finder import find_cells
from hv_utils.fields.view import main_cell
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES
from hv_utils.images.voc import WHITE_CELL

LABORATORIES = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(0)
    return [draw_photo(label, rng=rng) for label in CLASSES * 6]


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def box_overlap(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_drawn_white_cells_are_found_once_with_box_and_nucleus(photos):
    boxes = []
    for photo in photos:
        white = photo.boxes[0]
        (cell,) = find_cells(photo.image).cells
        assert cell.kind == "white"
        assert white.xmin < cell.x < white.xmax
        assert white.ymin < cell.y < white.ymax
        boxes.append(box_overlap(cell.box, (white.xmin, white.ymin, white.xmax, white.ymax)))
        size = photo.image.shape[:2]
        assert overlap(cell.nucleus_mask(size), photo.nucleus_mask) > 0.85
        um2 = photo.nucleus_mask.sum() * find_cells(photo.image).um_per_pixel ** 2
        assert cell.nucleus_um2 == pytest.approx(um2, rel=0.15)
    assert np.median(boxes) > 0.6, "pale cytoplasm beside red cells hides a cell's edge"
    assert min(boxes) > 0.3


def test_a_field_of_red_cells_hardly_ever_has_a_white_cell(photos):
    bare = []
    for photo in photos:
        white = photo.boxes[0]
        assert white.name == WHITE_CELL
        left, right = max(white.xmin - 30, 0), white.xmax + 30
        for field in (photo.image[:, :left], photo.image[:, right:]):
            if field.shape[1] > 200:
                found = [cell.kind for cell in find_cells(field).cells]
                bare.append("white" in found)
    assert len(bare) >= 16
    # Where few red cells mislead the ruler, a platelet on one of them looks like a nucleus.
    assert np.mean(bare) <= 0.15


def nothing():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (240, 320, 1), dtype=np.uint8)
    return {
        "white": np.full((240, 320, 3), 255, np.uint8),
        "grey": np.full((240, 320, 3), 235, np.uint8),
        "black": np.zeros((240, 320, 3), np.uint8),
        "noise": rng.integers(0, 256, (240, 320, 3), dtype=np.uint8),
        "grey noise": np.repeat(grey, 3, axis=2),
        "faint noise": rng.integers(225, 245, (240, 320, 3), dtype=np.uint8),
        "strip of noise": rng.integers(0, 256, (16, 2000, 3), dtype=np.uint8),
        "small": np.full((16, 16, 3), 99, np.uint8),
    }


@pytest.mark.parametrize("name", nothing())
@pytest.mark.parametrize("um_per_pixel", [None, 0.01, 0.1, 2.0])
def test_where_nothing_is_nothing_is_found(name, um_per_pixel):
    found = find_cells(nothing()[name], um_per_pixel=um_per_pixel)
    assert found.cells == []
    assert main_cell(found) is None


def test_a_thumbnail_of_one_cell(photos):
    photo = photos[0]
    white = photo.boxes[0]
    crop = photo.image[max(white.ymin - 10, 0) : white.ymax + 10]
    crop = crop[:, max(white.xmin - 10, 0) : white.xmax + 10]
    small = cv2.resize(crop, (30, 30), interpolation=cv2.INTER_AREA)
    cell = main_cell(find_cells(small))
    assert 10 < cell.x < 20
    assert 10 < cell.y < 20


def test_a_wide_field_of_many_cells(photos):
    tile = cv2.resize(photos[1].image, (800, 600))
    field = np.tile(tile, (5, 5, 1))
    assert field.shape == (3000, 4000, 3)
    found = find_cells(field)
    assert len(found.cells) == 25
    white = photos[1].boxes[0]
    x, y = (white.xmin + white.xmax) * 0.625, (white.ymin + white.ymax) * 0.625
    places = {(cell.x // 800, cell.y // 600) for cell in found.cells}
    assert len(places) == 25
    for cell in found.cells:
        assert np.hypot(cell.x % 800 - x, cell.y % 600 - y) < 20


def test_a_cell_at_the_edge_is_said_to_be_cut(photos):
    photo = photos[0]
    cell = main_cell(find_cells(photo.image))
    assert not cell.cut
    half = np.ascontiguousarray(photo.image[:, : round(cell.x)])
    assert find_cells(half).cells[0].cut
    bordered = photo.image.copy()
    bordered[:, round(cell.x) :] = 0
    assert find_cells(bordered).cells[0].cut


@pytest.mark.parametrize("um_per_pixel", [0, -1, 0.001, 5.1, 500, float("nan"), float("inf")])
def test_a_ruler_that_cannot_be(photos, um_per_pixel):
    with pytest.raises(HematoVisionError, match=r"µm a pixel, but got") as caught:
        find_cells(photos[0].image, um_per_pixel=um_per_pixel)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(15, 400), (400, 15), (1, 1), (0, 0)])
def test_a_picture_too_small(size):
    with pytest.raises(HematoVisionError, match="at least 16 pixels") as caught:
        find_cells(np.zeros((*size, 3), np.uint8))
    assert "\n" not in str(caught.value)


def crops(name, ending, *, every):
    """Yield some pictures of an archive, evenly from all of it, each with its file name."""
    path = LABORATORIES / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the repository (../shared/data)")
    with zipfile.ZipFile(path) as archive:
        for member in sorted(n for n in archive.namelist() if n.endswith(ending))[::every]:
            data = io.BytesIO(archive.read(member))
            yield np.array(Image.open(data).convert("RGB")), archive, member


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "ending", "every", "red_cell"),
    [("pbc-part.zip", ".jpg", 67, 78), ("raabin-part.zip", ".jpg", 18, 135)],
)
def test_the_middle_cell_of_other_laboratories(name, ending, every, red_cell):
    central, errors = [], []
    for image, *_ in crops(name, ending, every=every):
        found = find_cells(image)
        cell = main_cell(found)
        middle = np.array(image.shape[1::-1]) / 2
        central.append(cell is not None and np.hypot(*(middle - (cell.x, cell.y))) < 0.2 * 360)
        errors.append(abs(found.um_per_pixel * red_cell / 7.5 - 1))
    assert len(central) >= 30
    assert np.mean(central) >= 0.93
    assert np.median(errors) < 0.1
    assert np.mean(np.array(errors) < 0.25) > 0.9


@pytest.mark.real
def test_nuclei_that_experts_outlined():
    overlaps = []
    for image, archive, member in crops("wbc-masks-1.zip", ".bmp", every=10):
        mask = Image.open(io.BytesIO(archive.read(member.replace(".bmp", ".png"))))
        nucleus = np.array(mask.convert("L")) > 200
        cell = main_cell(find_cells(image))
        overlaps.append(overlap(cell.nucleus_mask(nucleus.shape), nucleus))
    assert len(overlaps) == 30
    assert np.median(overlaps) > 0.6
