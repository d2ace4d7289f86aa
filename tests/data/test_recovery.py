"""Source recovery: right on the demo, whose truth is known, and silent where there is no source."""

import shutil
import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest

from hv_utils.data import local_features as local
from hv_utils.data.kaggle import find_folder
from hv_utils.data.overlaps import group_photos, read_overlaps, write_overlaps
from hv_utils.data.photo_index import read_grey
from hv_utils.data.recovery import copy_files, recover_sources, recovery_report
from hv_utils.data.source_map import AFFINE, BOX, MAP_COLUMNS, read_source_map, write_map
from hv_utils.drawn.demo import make_demo
from hv_utils.ground.errors import HematoVisionError

PHOTOS = {"eosinophil": 5, "lymphocyte": 4, "monocyte": 4, "neutrophil": 6}
# Corners of the frame: two maps that agree on them agree everywhere.
CORNERS = np.array([[0, 0, 1], [319, 0, 1], [0, 239, 1], [319, 239, 1]])


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Draw a small demo; return its root and its truth."""
    root = tmp_path_factory.mktemp("demo") / "data"
    make_demo(root, seed=5, photos=PHOTOS, copies_train=9, copies_test=6)
    truth = pd.read_csv(root / "truth" / "truth.csv", dtype={"photo": "string"})
    return root, truth.sort_values("path").reset_index(drop=True)


@pytest.fixture(scope="module")
def recovered(demo):
    return recover_sources(demo[0], workers=2, progress=False)


@pytest.fixture
def damaged(demo, tmp_path):
    """Return a function that gives a copy of the demo to spoil, its folders at hand."""
    root = tmp_path / "spoilt"
    shutil.copytree(demo[0], root, ignore=shutil.ignore_patterns("truth"))
    return root, find_folder(root, "TRAIN").parent, find_folder(root, "JPEGImages")


def affine(table):
    return table[AFFINE].to_numpy(float).reshape(-1, 2, 3)


def test_every_copy_of_the_demo_finds_its_photo(demo, recovered):
    truth = demo[1]
    assert recovered["path"].tolist() == truth["path"].tolist()
    known = recovered["photo"].notna()
    assert known.mean() >= 0.99, recovered.loc[~known, ["path", "reason"]]
    assert (recovered["photo"] == truth["photo"])[known].all()
    assert (recovered["mirrored"] == truth["mirrored"])[known].all()
    assert (recovered["reason"] == "").equals(known.rename("reason"))


def test_map_is_that_of_the_truth_to_a_pixel(demo, recovered):
    known = recovered["photo"].notna()
    found, true = (
        CORNERS @ affine(table[known]).transpose(0, 2, 1) for table in (recovered, demo[1])
    )
    error = np.linalg.norm(found - true, axis=2).max(axis=1)
    assert np.median(error) < 0.5
    assert np.mean(error < 3) > 0.85  # drawn photos have few features, far from the corners


def test_carried_box_lies_on_the_cell(demo, recovered):
    """Against the true outlines: the box around the visible part of each cell."""
    overlaps = []
    for row in recovered.query("visible > 0.99").itertuples():
        mask = cv2.imread(str((demo[0] / "truth" / "masks" / row.path).with_suffix(".png")), 0)
        ys, xs = np.nonzero(mask)
        true = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        box = np.array([getattr(row, f"box_{name}") for name in BOX])
        low, high = np.maximum(true[:2], box[:2]), np.minimum(true[2:], box[2:])
        shared = np.prod(np.maximum(high - low, 0))
        areas = sum(np.prod(one[2:] - one[:2]) for one in (true, box))
        overlaps.append(shared / (areas - shared))
    assert len(overlaps) > 20
    assert np.median(overlaps) > 0.85
    assert min(overlaps) > 0.6


def test_result_depends_neither_on_workers_nor_on_the_run(demo, recovered, tmp_path):
    again = recover_sources(demo[0], workers=1, progress=False)
    pd.testing.assert_frame_equal(again, recovered)
    path = write_map(recovered, tmp_path / "map.csv")
    kept = read_source_map(path)
    assert list(kept) == MAP_COLUMNS
    assert kept["photo"].equals(recovered["photo"])


def test_report_counts_what_was_drawn(recovered):
    report = recovery_report(recovered)
    assert report["images"] == len(recovered)
    train, test = (report["photos_per_class"][name] for name in ("TRAIN", "TEST"))
    assert {name: train[name] + test[name] for name in PHOTOS} == PHOTOS
    assert report["groups_of_several"] == {}
    assert report["groups_on_both_sides"] == []
    assert report["without_box"] == []


def test_copies_without_a_photo_stay_unknown(damaged, demo):
    """A missing photo, a stranger, a black picture and a broken file: never a guess."""
    root, base, photos = damaged
    truth = demo[1]
    lost = truth["photo"].iloc[0]
    (photos / f"BloodImage_{lost}.jpg").unlink()
    spoilt = truth[truth["photo"] != lost]["path"].iloc[:4].tolist()
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    stranger = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(base / spoilt[0]), stranger)
    cv2.imwrite(str(base / spoilt[1]), np.zeros((240, 320, 3), np.uint8))
    (base / spoilt[2]).write_bytes(b"not a picture")
    (base / spoilt[3]).write_bytes((base / truth["path"].iloc[-1]).read_bytes()[:900])
    table = recover_sources(root, workers=2, progress=False)
    unknown = table[table["photo"].isna()].set_index("path")
    assert set(spoilt) <= set(unknown.index)
    assert set(truth.loc[truth["photo"] == lost, "path"]) <= set(unknown.index)
    assert "no photo of the archive" in unknown.loc[spoilt[0], "reason"]
    assert "known image format" in unknown.loc[spoilt[2], "reason"]
    assert unknown["reason"].str.len().min() > 0
    assert unknown[[*AFFINE, "visible", "group"]].isna().all(axis=None)
    rest = table[~table["path"].isin(unknown.index)].merge(truth, on="path")
    assert len(rest) >= 0.99 * (len(table) - len(unknown))
    assert (rest["photo_x"] == rest["photo_y"]).all()


def test_repeated_and_overlapping_photos_make_one_group(damaged, demo):
    root, _, photos = damaged
    names = sorted(path.name for path in photos.glob("*.jpg"))
    first, second = names[2], names[5]
    shutil.copy(photos / first, photos / "BloodImage_00900.jpg")
    field = cv2.imread(str(photos / second))
    shifted = cv2.copyMakeBorder(field[60:, 150:], 0, 60, 0, 150, cv2.BORDER_REFLECT)
    cv2.imwrite(str(photos / "BloodImage_00901.jpg"), shifted)
    annotations = photos.parent / "Annotations"
    shutil.copy(annotations / first.replace("jpg", "xml"), annotations / "BloodImage_00900.xml")
    table = recover_sources(root, workers=2, progress=False)
    pairs = pd.DataFrame(table.attrs["overlaps"]).set_index(["photo", "other"])
    assert set(pairs.index) == {(first[11:16], "00900"), (second[11:16], "00901")}
    assert pairs.loc[(first[11:16], "00900"), "same_cell"]
    assert pd.isna(pairs.loc[(second[11:16], "00901"), "same_cell"])  # no box, no verdict
    assert pairs.loc[(first[11:16], "00900"), "shared"] == pytest.approx(1, abs=0.02)
    known = table.merge(demo[1], on="path")
    same = known[known["photo_y"] == first[11:16]]
    assert (same["group"] == first[11:16]).all()
    assert (same["photo_x"] == first[11:16]).all()  # of two equal photos the first


def test_unusable_photos_are_reported_and_missing_boxes_stay_empty(damaged, demo):
    root, _, photos = damaged
    number, other = demo[1]["photo"].unique()[:2]
    (photos / f"BloodImage_{number}.jpg").write_bytes(b"")
    (photos.parent / "Annotations" / f"BloodImage_{other}.xml").unlink()
    table = recover_sources(root, workers=2, progress=False)
    assert list(table.attrs["unreadable"]) == [f"BloodImage_{number}.jpg"]
    assert number not in set(table["photo"].dropna())
    bare = table[table["photo"] == other]
    assert len(bare) > 0
    assert bare["visible"].isna().all()
    assert recovery_report(table)["without_box"] == [other]


@pytest.mark.parametrize(
    ("gone", "word"), [("TRAIN", "TRAIN"), ("TEST", "TEST"), ("JPEGImages", "JPEGImages")]
)
def test_missing_folders_are_named(damaged, gone, word):
    root, base, photos = damaged
    shutil.rmtree(photos if gone == "JPEGImages" else base / gone)
    with pytest.raises(HematoVisionError, match=word) as error:
        recover_sources(root, progress=False)
    assert "\n" not in str(error.value)


def test_archives_without_pictures_are_refused(damaged):
    root, base, photos = damaged
    for path in photos.glob("*.jpg"):
        path.unlink()
    with pytest.raises(HematoVisionError, match="none can be used"):
        recover_sources(root, progress=False)
    blank = np.full((480, 640, 3), 200, np.uint8)
    cv2.imwrite(str(photos / "BloodImage_00000.jpg"), blank)
    with pytest.raises(HematoVisionError, match="none of 1 has a pattern"):
        recover_sources(root, progress=False)
    for path in base.rglob("*.jpeg"):
        path.unlink()
    with pytest.raises(HematoVisionError, match="there is none"):
        copy_files(root)


def test_mirrored_features_are_those_of_the_mirrored_picture(demo):
    photo = sorted(find_folder(demo[0], "JPEGImages").glob("*.jpg"))[1]  # one with many features
    grey = read_grey(photo, size=(320, 240))
    turned = local.extract(np.ascontiguousarray(grey[:, ::-1]), contrast=0.02)
    features = local.extract(grey, contrast=0.02)
    ours, theirs = local.match(local.mirror(features), turned)
    assert len(ours) > 0.8 * len(features)
    assert np.median(np.abs(319 - ours[:, 0] - theirs[:, 0])) < 0.1
    assert len(local.match(features, turned)[0]) < len(ours) / 2


def test_groups_join_through_others():
    pairs = pd.DataFrame({"photo": ["b", "a", "e"], "other": ["c", "c", "f"]})
    assert group_photos("abcdef", pairs) == dict(zip("abcdef", "aaadee", strict=True))


def test_overlaps_survive_the_file(damaged, tmp_path):
    pairs = pd.DataFrame({"photo": ["00001"], "other": ["00002"], "same_cell": [pd.NA]})
    path = write_overlaps(pairs, tmp_path / "pairs.csv")
    again = read_overlaps(path)
    assert again["photo"].tolist() == ["00001"]
    assert again["same_cell"].isna().all()


@pytest.mark.real
def test_recovery_reproduces_the_published_map(real_archive, tmp_path):
    """A sample of the copies, and a part of the photos in which theirs are."""
    published = read_source_map()
    sample = published.sample(40, random_state=1)
    others = published["photo"].dropna().drop_duplicates().sample(30, random_state=2)
    photos = {*sample["photo"].dropna(), *others}
    wanted = {f"BloodImage_{photo}" for photo in photos}
    with zipfile.ZipFile(real_archive) as file:
        for name in file.namelist():
            within, stem = "/".join(name.split("/")[-3:]), name.split("/")[-1].rpartition(".")[0]
            if stem in wanted or within in set(sample["path"]):
                file.extract(name, tmp_path)
    for name in ("TRAIN", "TEST"):
        (find_folder(tmp_path, "images") / name).mkdir(exist_ok=True)
    table = recover_sources(tmp_path, workers=2, progress=False)
    expected = sample.sort_values("path").reset_index(drop=True)
    assert table["sha256"].tolist() == expected["sha256"].tolist()
    assert table["photo"].equals(expected["photo"])
    frame = np.abs(CORNERS @ (affine(table) - affine(expected)).transpose(0, 2, 1))
    assert frame.max() < 0.1  # pixels of the copy
    boxed = expected["visible"].notna()
    box = [f"box_{name}" for name in BOX]
    assert np.abs(table.loc[boxed, box] - expected.loc[boxed, box]).max(axis=None) < 0.3
