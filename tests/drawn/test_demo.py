"""The demo: the real set's layout and habits in miniature, with a truth that can be trusted."""

import json
import re
import shutil
import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest

from hv_utils.data.archive import open_archive
from hv_utils.drawn import demo as demo_module
from hv_utils.drawn.demo import CYTOPLASM, NUCLEUS, make_demo
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES
from hv_utils.images.reading import read_image
from hv_utils.images.voc import read_boxes

PHOTOS = {"eosinophil": 6, "lymphocyte": 4, "monocyte": 4, "neutrophil": 7}
TINY = {"photos": {"lymphocyte": 4, "monocyte": 4}, "copies_train": 2, "copies_test": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Draw one small demo for all tests that only look."""
    path = tmp_path_factory.mktemp("drawn") / "data"
    return make_demo(path, seed=2, photos=PHOTOS, copies_train=12, copies_test=5)


@pytest.fixture(scope="module")
def truth(root):
    return pd.read_csv(root / "truth" / "truth.csv", dtype={"photo": str})


def originals(root):
    return root / "dataset-master" / "dataset-master"


def copies(root):
    return root / "dataset2-master" / "dataset2-master" / "images"


def shrunk(root, number):
    photo = read_image(originals(root) / "JPEGImages" / f"BloodImage_{number}.jpg")
    return cv2.resize(photo, (320, 240), interpolation=cv2.INTER_AREA)


def affine(row):
    return np.array([[row.a00, row.a01, row.a02], [row.a10, row.a11, row.a12]])


def test_layout_and_counts_are_those_of_the_archive(root):
    found, _ = open_archive(root)
    assert found == root
    for label, count in PHOTOS.items():
        folders = {part: copies(root) / part / label.upper() for part in ("TRAIN", "TEST")}
        assert len(list(folders["TRAIN"].iterdir())) == 12
        assert len(list(folders["TEST"].iterdir())) == 5
        simple = list((copies(root) / "TEST_SIMPLE" / label.upper()).iterdir())
        assert len(simple) == max(2, round(0.4 * count))
    photos = sorted((originals(root) / "JPEGImages").iterdir())
    assert len(photos) == sum(PHOTOS.values()) + 4, "and four doubtful ones"
    for photo in photos:
        boxes = read_boxes(originals(root) / "Annotations" / f"{photo.stem}.xml")
        assert boxes[0].name == "WBC"
    assert read_image(photos[0]).shape == (480, 640, 3)
    assert read_image(next((copies(root) / "TRAIN" / "MONOCYTE").iterdir())).shape == (240, 320, 3)


def test_labels_file_reads_like_the_real_one(root):
    files = sorted(root.rglob("labels.csv"))
    assert [file.parent for file in files] == [originals(root), copies(root).parent]
    assert files[0].read_bytes() == files[1].read_bytes()
    text = files[0].read_bytes().decode()
    assert text.startswith(",Image,Category\r\n,0,")
    rows = pd.read_csv(files[0], dtype=str, keep_default_na=False)
    named = rows["Category"].str.lower().value_counts()
    assert {name: named[name] for name in PHOTOS} == PHOTOS
    assert named[""] == 2
    several = rows[rows["Category"].str.contains(",")]
    assert len(several) == 2
    for number in several["Image"].astype(int):
        boxes = read_boxes(originals(root) / "Annotations" / f"BloodImage_{number:05d}.xml")
        assert sum(box.name == "WBC" for box in boxes) == 2


@pytest.mark.real
def test_labels_file_has_the_real_header_and_line_ends(root, real_archive):
    with zipfile.ZipFile(real_archive) as archive:
        name = next(name for name in archive.namelist() if name.endswith("labels.csv"))
        real = archive.read(name)
    drawn = next(root.rglob("labels.csv")).read_bytes()
    assert drawn.splitlines(keepends=True)[0] == real.splitlines(keepends=True)[0]
    assert re.search(rb',\d+,"NEUTROPHIL, EOSINOPHIL"\r\n', real)
    assert re.search(rb',\d+,"[A-Z]+, [A-Z]+"\r\n', drawn)
    assert re.search(rb",\d+,\r\n", real)
    assert re.search(rb",\d+,\r\n", drawn)


def test_names_look_like_the_real_ones_and_mislead(root, truth):
    names = truth["path"].str.extract(r"^(\w+)/([A-Z]+)/_(\d+)_\d+\.jpeg$")
    assert names.notna().all(axis=None)
    assert truth["path"].is_unique
    train = truth.assign(prefix=names[2])[names[0] == "TRAIN"]
    behind = train.groupby([names[1], "prefix"])["photo"].nunique()
    assert (behind > 1).mean() > 0.5, "the first number is no photo"
    copies_of = train.groupby("photo").size()
    per_class = train.groupby(names[1])["photo"].nunique()
    assert copies_of.max() <= np.ceil(12 / per_class.min()), "every pass takes each photo once"


def test_no_photo_is_on_both_sides_of_the_split(truth):
    part = truth["path"].str.split("/").str[0]
    photos = truth.groupby(part)["photo"].agg(set)
    assert not photos["TRAIN"] & photos["TEST"]
    assert photos["TEST_SIMPLE"] == photos["TEST"]


def test_truth_maps_each_photo_onto_its_copy(root, truth):
    for row in truth.itertuples():
        expected = cv2.warpAffine(shrunk(root, row.photo), affine(row), (320, 240))
        copy = read_image(copies(root) / row.path)
        # Both went through JPEG, each at another size.
        assert np.abs(copy.astype(int) - expected).mean() < 4, row.path
        assert row.mirrored == (np.linalg.det(affine(row)[:, :2]) < 0)
    augmented = truth[~truth["path"].str.startswith("TEST_SIMPLE")]
    assert 0.2 < augmented["mirrored"].mean() < 0.8


def test_a_wrong_photo_would_be_noticed(root, truth):
    """The comparison above is sharp: another photo of the class does not pass it."""
    row = truth.iloc[0]
    other = truth.loc[truth["photo"] != row.photo, "photo"].iloc[0]
    expected = cv2.warpAffine(shrunk(root, other), affine(row), (320, 240))
    assert np.abs(read_image(copies(root) / row.path).astype(int) - expected).mean() > 8


def test_masks_lie_on_the_cells(root, truth):
    for row in truth.itertuples():
        path = (root / "truth" / "masks" / row.path).with_suffix(".png")
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (240, 320)
        assert set(np.unique(mask)) <= {0, CYTOPLASM, NUCLEUS}
        grey = read_image(copies(root) / row.path).mean(axis=2)
        if (mask == NUCLEUS).sum() > 200 and (mask == CYTOPLASM).sum() > 200:
            assert grey[mask == NUCLEUS].mean() < grey[mask == CYTOPLASM].mean() - 5, row.path


def test_augmentation_stays_in_its_ranges_and_leaves_black(root, truth):
    augmented = truth[~truth["path"].str.startswith("TEST_SIMPLE")]
    dark = []
    for row in augmented.itertuples():
        linear = affine(row)[:, :2]
        assert 0.85 < abs(np.linalg.det(linear)) < 1.15
        moved = affine(row) @ (159.5, 119.5, 1) - (159.5, 119.5)
        assert (np.abs(moved) <= (32.1, 24.1)).all(), "a tenth of the width and height"
        direction = np.abs(linear[:, 0]) / np.linalg.norm(linear[:, 0])
        assert direction[0] >= np.cos(np.deg2rad(20.5)), "at most 20 degrees"
        dark.append((read_image(copies(root) / row.path).max(axis=2) < 12).mean())
    assert np.mean(np.array(dark) > 0.01) > 0.9
    identity = truth[truth["path"].str.startswith("TEST_SIMPLE")]
    for row in identity.itertuples():
        np.testing.assert_array_equal(affine(row), np.eye(2, 3))


def test_a_finished_demo_is_kept_until_its_arguments_or_its_code_change(tmp_path, monkeypatch):
    root = make_demo(tmp_path / "data", **TINY)
    (root / "mark").touch()
    make_demo(root, **TINY)
    assert (root / "mark").exists(), "same arguments, same code"
    monkeypatch.setattr(demo_module, "_code_fingerprint", lambda: "another brush")
    make_demo(root, **TINY)
    assert not (root / "mark").exists(), "another code draws anew"
    (root / "mark").touch()
    make_demo(root, **{**TINY, "copies_train": 3})
    assert not (root / "mark").exists(), "other arguments draw anew"
    settings = json.loads((root / "truth" / "settings.json").read_text(encoding="utf-8"))
    assert settings["copies"] == [3, 2]


def test_a_failure_leaves_the_old_demo_and_no_litter(tmp_path, monkeypatch):
    root = make_demo(tmp_path / "data", **TINY)
    before = sorted(path.relative_to(root) for path in root.rglob("*"))

    def fails(*args, **options):
        raise RuntimeError("the ink ran out")

    monkeypatch.setattr(demo_module, "draw_photo", fails)
    with pytest.raises(RuntimeError, match="ink"):
        make_demo(root, seed=1, **TINY)
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_kill_while_the_old_demo_is_deleted_blocks_nothing(tmp_path, monkeypatch):
    root = make_demo(tmp_path / "data", **TINY)

    def killed(folder, **options):
        if (folder / "truth").exists():
            rmtree(folder / "truth")
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        rmtree = shutil.rmtree
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            make_demo(root, seed=1, **TINY)
    assert make_demo(root, seed=2, **TINY) == root
    assert json.loads((root / "truth/settings.json").read_text())["seed"] == 2


def test_a_folder_that_is_no_demo_is_never_deleted(tmp_path):
    keep = tmp_path / "data" / "thesis.txt"
    keep.parent.mkdir()
    keep.write_text("ten years of work", encoding="utf-8")
    with pytest.raises(HematoVisionError, match="holds something else") as caught:
        make_demo(keep.parent, **TINY)
    assert keep.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "sizes",
    [{"photos": {"lymphocyte": 3, "monocyte": 9}}, {"copies_train": 0}, {"copies_test": -1}],
)
def test_too_few_photos_or_copies_are_refused(tmp_path, sizes):
    with pytest.raises(HematoVisionError, match="at least 4 photos") as caught:
        make_demo(tmp_path / "data", **{**TINY, **sizes})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_progress_sees_every_photo(tmp_path):
    seen = []

    def progress(items):
        for item in items:
            seen.append(item)
            yield item

    make_demo(tmp_path / "data", progress=progress, **TINY)
    assert len(seen) == 8 + 4


@pytest.mark.parametrize("fraction", [-0.1, 0.0, 0.8, 1.0])
def test_a_share_for_test_that_leaves_nothing_to_learn_from_is_refused(tmp_path, fraction):
    with pytest.raises(HematoVisionError, match="leaves two of 6 to learn from"):
        make_demo(tmp_path / "demo", photos=dict.fromkeys(CLASSES, 6), test_fraction=fraction)
    assert not (tmp_path / "demo").exists()
