"""Which pictures teach: each once, no field on two sides, nothing of TEST."""

import numpy as np
import pytest
from PIL import Image

from hv_utils.data import sources
from hv_utils.data.archive import open_archive
from hv_utils.data.source_map import read_source_map
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from hv_utils.images.labels import KINDS
from hv_utils.network.laboratories import TRAIN_COPIES, VAL_COPIES, kaggle_cells, pbc_cells


@pytest.fixture
def archive(tmp_path):
    """Write the public archive's layout in small: duplicates and another size among it."""
    rng = np.random.default_rng(0)
    root = tmp_path / "PBC" / "PBC_dataset_normal_DIB"
    for kind in KINDS:
        (root / kind).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 256, (20, 18, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / kind / f"{kind[:2].upper()}_{number}.png")
    odd = Image.fromarray(rng.integers(0, 256, (369, 366, 3), dtype=np.uint8))
    odd.save(root / "ig" / "MY_odd.png")
    twin = (root / "eosinophil" / "EO_0.png").read_bytes()
    (root / "neutrophil" / "BNE_0.png").write_bytes(twin)
    (root / "ig" / ".DS_Store").write_bytes(b"\0")
    return tmp_path


def test_each_picture_of_pbc_stands_once_and_doubtful_ones_not_at_all(archive):
    table = pbc_cells(archive)
    assert set(table["label"]) == set(KINDS)
    names = {path.name for path in table["path"]}
    assert len(table) == 8 * 30 - 1
    assert not names & {"MY_odd.png", "EO_0.png", "BNE_0.png"}
    shares = table["part"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.7, abs=0.1)
    assert table.equals(pbc_cells(archive)), "the same files are always held out"


def test_the_set_is_a_source_of_the_chain(archive, tmp_path):
    data = sources.load("pbc", run=Run.open(tmp_path / "run"), archive=str(archive))
    assert set(data.images["label"]) == set(KINDS)
    assert set(data.images["split"]) == {"train", "val", "test"}
    assert len(data.left_out) == 3
    assert any("donor" in note for note in data.notes)


def test_an_incomplete_archive_is_one_line(archive):
    for path in archive.rglob("platelet/*"):
        path.unlink()
    with pytest.raises(HematoVisionError, match="none of platelet"):
        pbc_cells(archive)
    (archive / "other").mkdir()
    with pytest.raises(HematoVisionError, match="PBC_dataset_normal_DIB"):
        pbc_cells(archive / "other")


@pytest.mark.real
def test_no_field_of_kaggle_is_on_two_sides_and_none_of_test_in_any(real_archive):
    table = kaggle_cells(open_archive(real_archive)[0])
    groups = {part: set(rows["group"]) for part, rows in table.groupby("part")}
    assert not groups["train"] & groups["val"]
    sources = read_source_map()
    asked = set(sources.loc[~sources["path"].str.startswith("TRAIN"), "group"])
    assert not asked & (groups["train"] | groups["val"])
    counts = table.groupby(["part", "label"]).size()
    assert counts["train"].max() <= TRAIN_COPIES
    assert counts["val"].max() <= VAL_COPIES
    assert all(path.is_file() for path in table["path"])
