"""The source map: written and read unchanged, found by content, boxes carried with the cell."""

import shutil
import time
import zipfile

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT
from hv_utils.data import source_map
from hv_utils.data.overlaps import read_overlaps
from hv_utils.data.source_map import (
    AFFINE,
    BOX,
    MAP_COLUMNS,
    attach_sources,
    carry,
    carry_boxes,
    read_source_map,
    white_boxes,
    write_map,
)
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import fingerprint
from hv_utils.images.voc import Box, write_boxes

IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
FRAME = (np.array([240]), np.array([320]))


def row(path, digest, photo, **more):
    known = dict(zip(AFFINE, IDENTITY, strict=True)) | {"mirrored": False, "inliers": 40}
    known |= {f"box_{name}": value for name, value in zip(BOX, (10.5, 20, 60, 90), strict=True)}
    known |= {"group": photo, "visible": 1.0, "correlation": 0.99}
    if photo is None:
        known = dict.fromkeys(known)
    return {"path": path, "sha256": digest, "photo": photo, **known, **more}


@pytest.fixture
def small_map():
    return pd.DataFrame(
        [
            row("TRAIN/A/_0_1.jpeg", "aa", "00007", group="00003", a02=1.23456),
            row("TRAIN/A/_1_2.jpeg", "bb", "00116", mirrored=True),
            row("TEST/A/_0_3.jpeg", "cc", None),
        ]
    )


def test_map_survives_the_file(tmp_path, small_map):
    path = write_map(small_map.assign(reason="not for the file"), tmp_path / "new" / "map.csv")
    table = read_source_map(path)
    assert list(table) == MAP_COLUMNS
    assert table["photo"].tolist()[:2] == ["00007", "00116"]  # zeros kept
    assert table["mirrored"].tolist()[:2] == [False, True]
    assert table.loc[0, "a02"] == 1.23
    assert table.loc[2, MAP_COLUMNS[2:]].isna().all()
    write_map(table, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()


def test_unreadable_maps_are_one_line(tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("path,label\na,b\n", encoding="utf-8")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(bytes(range(256)))
    for path, word in (
        (tmp_path / "none.csv", "cannot be read"),
        (other, "no column sha256"),
        (binary, "damaged"),
    ):
        with pytest.raises(HematoVisionError, match=word) as error:
            read_source_map(path)
        assert "\n" not in str(error.value)


def test_images_are_found_by_content_not_by_name(small_map):
    images = pd.DataFrame({"path": ["x", "y", "z", "w"], "sha256": ["bb", "zz", "aa", "cc"]})
    table = attach_sources(images, small_map)
    assert table["path"].tolist() == ["x", "y", "z", "w"]
    assert table["cell"].tolist()[::2] == ["00116", "00007"]
    assert table["group"].tolist()[::2] == ["00116", "00003"]
    assert table.loc[[1, 3], ["cell", "group", "visible", "xmin"]].isna().all(axis=None)
    assert list(images) == ["path", "sha256"]
    again = attach_sources(table, small_map)
    pd.testing.assert_frame_equal(again, table)


def test_byte_identical_images_do_not_multiply(small_map):
    twice = pd.concat([small_map, small_map.iloc[:1].assign(path="TEST_SIMPLE/A/_9_9.jpeg")])
    table = attach_sources(pd.DataFrame({"sha256": ["aa", "aa", "bb"]}), twice)
    assert table["cell"].tolist() == ["00007", "00007", "00116"]


def test_images_without_digest_are_refused(small_map):
    with pytest.raises(HematoVisionError, match="sha256"):
        attach_sources(pd.DataFrame({"path": ["x"]}), small_map)


def test_unchanged_copy_keeps_its_box():
    boxes, visible = carry(
        np.array([[100.0, 60, 200, 180]]), np.array([IDENTITY]).reshape(-1, 2, 3), FRAME
    )
    assert boxes[0] == pytest.approx([50, 30, 100, 90])
    assert visible[0] == pytest.approx(1)


def test_mirrored_copy_mirrors_its_box():
    mirror = np.array([[[-1.0, 0, 319], [0, 1, 0]]])  # as cv2.flip does to a 320-pixel frame
    boxes, _ = carry(np.array([[100.0, 60, 200, 180]]), mirror, FRAME)
    assert boxes[0] == pytest.approx([320 - 100, 30, 320 - 50, 90])


def test_round_cell_keeps_its_size_when_turned():
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([159.5, 119.5])
    affine = np.column_stack([turn, middle - turn @ middle])[None]
    boxes, _ = carry(np.array([[260.0, 180, 380, 300]]), affine, FRAME)
    assert boxes[0, 2:] - boxes[0, :2] == pytest.approx([60, 60])


def test_visible_is_the_share_inside_the_frame():
    shifts = np.array([-25.0, -50, -400])
    affine = np.stack([[[1, 0, shift], [0, 1, 0]] for shift in shifts])
    sizes = (np.full(3, 240), np.full(3, 320))
    boxes, visible = carry(np.tile([0.0, 60, 100, 180], (3, 1)), affine, sizes)
    assert visible == pytest.approx([0.5, 0, 0])
    assert boxes[0] == pytest.approx([0, 30, 25, 90])
    assert (boxes >= 0).all()


def test_largest_white_box_is_taken(tmp_path):
    boxes = [
        Box("RBC", 1, 1, 600, 400),
        Box("WBC", 0, 0, 20, 20),
        Box("WBC", 100, 100, 200, 220),
    ]
    write_boxes(tmp_path / "BloodImage_00001.xml", boxes, photo="x.jpg", size=(480, 640))
    write_boxes(tmp_path / "BloodImage_00002.xml", boxes[:1], photo="y.jpg", size=(480, 640))
    (tmp_path / "BloodImage_00003.xml").write_text("<annotation", encoding="utf-8")
    with pytest.warns(UserWarning, match="00003"):
        found = white_boxes(["00001", "00002", "00003", "00004"], tmp_path)
    assert found == {"00001": boxes[2]}


def test_boxes_are_missing_where_source_or_box_is(tmp_path):
    box = Box("WBC", 100, 60, 200, 180)
    write_boxes(tmp_path / "BloodImage_00001.xml", [box], photo="x.jpg", size=(480, 640))
    images = pd.DataFrame(
        [[name, *IDENTITY] for name in ("00001", "00002")] + [[pd.NA] + [np.nan] * 6],
        columns=["cell", *AFFINE],
    )
    table = carry_boxes(images, annotations=tmp_path)
    assert table.loc[0, BOX].tolist() == [50, 30, 100, 90]
    assert table.loc[0, "visible"] == 1
    assert table.loc[1:, [*BOX, "visible"]].isna().all(axis=None)


@pytest.fixture(scope="module")
def published():
    return read_source_map()


def test_published_map_keeps_its_contract(published):
    assert list(published) == MAP_COLUMNS
    assert source_map.SOURCE_MAP.stat().st_size < 3_000_000
    assert published["path"].is_unique
    assert published["path"].str.match(r"(TRAIN|TEST|TEST_SIMPLE)/[A-Z]+/_\d+_\d+\.jpeg$").all()
    assert published["sha256"].str.match("[0-9a-f]{64}$").all()
    assert published["photo"].notna().mean() >= 0.99
    known = published[published["photo"].notna()]
    linear = known[["a00", "a01", "a10", "a11"]].to_numpy(float).reshape(-1, 2, 2)
    assert (known["mirrored"].to_numpy(bool) == (np.linalg.det(linear) < 0)).all()
    assert (known["group"] <= known["photo"]).all()
    boxed = known[known["visible"].notna()]
    assert boxed["visible"].between(0, 1).all()
    assert (boxed["box_xmin"] <= boxed["box_xmax"]).all()
    assert boxed["box_xmax"].between(0, 320).all()
    assert boxed["box_ymax"].between(0, 240).all()


def test_published_map_has_the_known_photos_of_the_real_set(published):
    """348 single-cell photos are left of labels.csv; 71 of them make the official test part."""
    parts = published["path"].str.split("/", expand=True)
    photos = published.groupby([parts[0], parts[1]])["photo"].nunique()
    assert photos["TRAIN"].tolist() == [75, 27, 16, 159]
    assert photos["TEST"].tolist() == [13, 6, 4, 48]
    train, test = (set(published.loc[parts[0] == name, "photo"]) for name in ("TRAIN", "TEST"))
    assert not train & test


def test_published_map_counts_copies_evenly(published):
    """The authors went through the photos in passes: a wrong match would make counts uneven."""
    parts = published["path"].str.split("/", expand=True)
    copies = published[parts[0] != "TEST_SIMPLE"].groupby([parts[0], parts[1], "photo"]).size()
    spread = copies.groupby(level=[0, 1]).agg(lambda counts: counts.max() - counts.min())
    assert spread.max() <= 5


@pytest.mark.real
def test_published_map_finds_the_real_images_quickly(real_archive, published, tmp_path):
    with zipfile.ZipFile(real_archive) as file:
        names = [name for name in file.namelist() if name.endswith(".jpeg")]
        assert len(names) == len(published)
        for number, name in enumerate(names[::50]):
            target = tmp_path / f"renamed {number}.jpeg"
            with file.open(name) as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out)
    start = time.perf_counter()
    digests = [fingerprint(tmp_path / f"renamed {k}.jpeg") for k in range(len(names[::50]))]
    table = attach_sources(pd.DataFrame({"path": names[::50], "sha256": digests}), published)
    seconds = time.perf_counter() - start
    expected = published.set_index("path")["photo"]
    within = ["/".join(name.split("/")[-3:]) for name in names[::50]]
    assert table["cell"].tolist() == expected.loc[within].tolist()
    assert seconds < 5


def test_the_data_card_tells_what_the_published_tables_hold(published):
    """The card's numbers are typed; here they are counted."""
    card = (ROOT / "book" / "data-card.md").read_text(encoding="utf-8")
    about = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    parts = published["path"].str.split("/", expand=True)
    photos = published.groupby([parts[0], parts[1]])["photo"].nunique()
    e, lymphocytes, monocytes, n = photos["TRAIN"]
    words = f"{e} eosinophils, {lymphocytes} lymphocytes, {monocytes} monocytes and {n} neutrophils"
    for text in (card, about):
        assert words in text
        assert f"{len(published):,}" in text
    assert f"altered, from {photos['TRAIN'].sum()} photographs" in card
    assert f"from {photos['TEST'].sum()} other photographs" in card

    pairs = read_overlaps()
    same = pairs[pairs["same_cell"].fillna(False)]
    assert f"the {len(pairs)} pairs of photographs" in card
    assert f"{len(same)} of the pairs show *the same white cell*" in card
    train, test = (set(published.loc[parts[0] == name, "photo"]) for name in ("TRAIN", "TEST"))
    sides = [{pair.photo, pair.other} for pair in same.itertuples()]
    twins = set().union(*(pair & test for pair in sides if pair & train and pair & test))
    assert f"{len(twins)} of the {len(test)} test photographs show a cell" in card
    tested = set(published.loc[parts[0] == "TEST", "group"])
    aside = published[(parts[0] == "TRAIN") & published["group"].isin(tested)]
    assert f"the {len(aside)} training copies" in card
