"""The source `chula`: cells cut out of fields, a field on one side of every split."""

import numpy as np
import pytest
from PIL import Image

from hv_utils.data import sources
from hv_utils.data.chula import KINDS_IN_FILES, SIDE, read_cells
from hv_utils.data.splits import check_no_leak
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from hv_utils.images.red_shapes import RED_KINDS, RED_UNSORTED


@pytest.fixture
def fields(tmp_path):
    """Eight fields with a cell of each kind, and one that is uncategorised."""
    root = tmp_path / "set"
    for folder in ("Dataset", "Label"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(8):
        image = rng.integers(0, 256, (480, 640, 3)).astype(np.uint8)
        Image.fromarray(image).save(root / "Dataset" / f"{number}.jpg")
        places = [f"{40 * kind + 3} {30 * kind + 5} {kind}" for kind in range(13)]
        (root / "Label" / f"{number}.txt").write_text("\n".join(places) + "\n")
    return root


def load(fields, tmp_path):
    return sources.load("chula", run=Run.open(tmp_path / "run"), archive=str(fields))


def test_cells_are_cut_out_and_split_by_field(fields, tmp_path):
    data = load(fields, tmp_path)
    images = data.images
    assert sorted(images["label"].unique()) == sorted(RED_KINDS)
    assert images["group"].nunique() == 8
    assert (images.groupby("group")["split"].nunique() == 1).all()
    assert (images[["width", "height"]] == SIDE).all().all(), "at the edge, too"
    check_no_leak(images)
    assert len(data.left_out) == 8
    assert data.left_out["reason"].str.contains("uncategorised").all()
    assert any("fields: 8" in note for note in data.notes)


def test_the_numbers_are_those_of_the_set():
    assert KINDS_IN_FILES[0] == "normal"
    assert KINDS_IN_FILES[10] == RED_UNSORTED
    assert KINDS_IN_FILES[12] == "elliptocyte"
    assert len(KINDS_IN_FILES) == 13


def test_a_damaged_label_file_is_told_by_its_line(fields, tmp_path):
    path = fields / "Label" / "3.txt"
    path.write_text("1 2 3\n4 five 6\n")
    with pytest.raises(HematoVisionError, match=r"line 2 of .*3\.txt"):
        list(read_cells(path))
    path.write_text("1 2 13\n")
    with pytest.raises(HematoVisionError, match="a kind from 0 to 12"):
        load(fields, tmp_path)


def test_another_set_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.txt").write_text("x")
    with pytest.raises(HematoVisionError, match="not Chula-RBC-12"):
        load(tmp_path / "set", tmp_path)
