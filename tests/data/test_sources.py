"""The image table: three sources, one contract; what is wrong is refused or listed."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_images import FOUR, class_folders, noise

from hv_utils.data import kaggle, sources
from hv_utils.data.source_map import MAP_COLUMNS, write_map
from hv_utils.data.splits import check_no_leak
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run

SMALL = {
    "photos": {"eosinophil": 5, "lymphocyte": 4, "monocyte": 4, "neutrophil": 6},
    "copies_train": 8,
    "copies_test": 4,
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Draw a small demo once."""
    run = Run.open(tmp_path_factory.mktemp("demo") / "run")
    return run, sources.load("demo", run=run, seed=3, demo=SMALL)


def test_demo_keeps_the_contract_of_the_table(demo):
    images = demo[1].images
    assert {"path", "label", "split", "cell", "source"} <= set(images.columns)
    assert images["path"].is_unique
    assert set(images["split"]) == {"train", "val", "test", "simple"}
    copies = images[images["split"] != "simple"].copy()
    copies["part"] = copies["split"].replace({"val": "train"})
    counts = copies.groupby(["part", "label"]).size().unstack()
    assert (counts.loc["train"] == SMALL["copies_train"]).all()
    assert (counts.loc["test"] == SMALL["copies_test"]).all()
    check_no_leak(images)


def test_demo_truth_agrees_with_the_boxes(demo):
    """The true outline of the cell lies in the box that was carried over from the photo."""
    images = demo[1].images.query("visible == 1 and split != 'simple'")
    assert len(images) > 10
    for row in images.head(20).itertuples():
        ys, xs = np.nonzero(np.array(Image.open(row.mask)))
        # The box is carried over as an ellipse, which a cell is only nearly.
        wide, high = 0.08 * (row.xmax - row.xmin), 0.08 * (row.ymax - row.ymin)
        assert row.xmin - wide <= xs.min() <= xs.max() <= row.xmax + wide
        assert row.ymin - high <= ys.min() <= ys.max() <= row.ymax + high


def test_same_seed_same_data_and_another_seed_other_data(demo, tmp_path):
    facts = demo[1].facts
    again = sources.load("demo", run=Run.open(tmp_path / "a"), seed=3, demo=SMALL)
    assert again.facts["images_sha256"] == facts["images_sha256"]
    pd.testing.assert_series_equal(again.images["split"], demo[1].images["split"])
    other = sources.load("demo", run=Run.open(tmp_path / "b"), seed=4, demo=SMALL)
    assert other.facts["images_sha256"] != facts["images_sha256"]


def test_photos_hold_the_doubtful_rows(demo):
    photos = demo[1].photos
    assert set(photos["doubt"]) == {"", "blank", "several cells"}
    assert (photos.loc[photos["doubt"] == "several cells", "white_cells"] == 2).all()
    assert photos.loc[photos["doubt"] != "", "label"].isna().all()
    usable = photos[photos["doubt"] == ""]
    assert usable["label"].value_counts().to_dict() == SMALL["photos"]


def test_kaggle_layout_is_read_and_unreadable_images_are_listed(demo, tmp_path):
    root = tmp_path / "archive" / "deep" / "deeper"
    shutil.copytree(demo[0].path("data"), root)
    images = kaggle.find_folder(root, "TRAIN")
    broken = sorted((images / "MONOCYTE").iterdir())[:2]
    broken[0].write_text("not an image")
    broken[1].write_bytes(b"")
    settings = {"run": Run.open(tmp_path / "run"), "archive": str(tmp_path / "archive")}
    with pytest.raises(HematoVisionError, match="the source map knows none of these"):
        sources.load("kaggle", **settings)
    known = demo[1].images.rename(columns={"cell": "photo"}).reindex(columns=MAP_COLUMNS)
    settings["source_map"] = str(write_map(known, tmp_path / "map.csv"))
    data = sources.load("kaggle", **settings)
    assert sorted(data.left_out["path"]) == sorted(str(path) for path in broken)
    assert data.left_out["reason"].str.startswith("expected").all()
    assert len(data.images) == len(demo[1].images) - 2
    cells = demo[1].images.set_index("sha256")["cell"]
    assert data.images["cell"].tolist() == cells[data.images["sha256"]].tolist()


def test_missing_and_empty_class_folders(demo, tmp_path):
    root = tmp_path / "archive"
    shutil.copytree(demo[0].path("data"), root)
    folder = kaggle.find_folder(root, "TEST") / "MONOCYTE"
    for path in folder.iterdir():
        path.unlink()
    run = Run.open(tmp_path / "run")
    with pytest.raises(HematoVisionError, match="MONOCYTE, but it has none"):
        sources.load("kaggle", run=run, archive=str(root))
    folder.rmdir()
    with pytest.raises(HematoVisionError, match="test lacks monocyte"):
        sources.load("kaggle", run=run, archive=str(root))


def load_folder(root, tmp_path, **settings):
    return sources.load("folder", run=Run.open(tmp_path / "run"), folder=str(root), **settings)


def refused(root, tmp_path, message, **settings):
    with pytest.raises(HematoVisionError, match=message) as caught:
        load_folder(root, tmp_path, **settings)
    assert "\n" not in str(caught.value)


def test_folder_of_ones_own(tmp_path):
    root = class_folders(tmp_path / "mine", ("Monocyte", "basophil"), n=12)
    data = load_folder(root, tmp_path, seed=1)
    assert set(data.images["label"]) == {"basophil", "monocyte"}
    assert set(data.images["split"]) == {"train", "val", "test"}
    assert data.images["cell"].isna().all()
    assert data.images.groupby("split")["label"].nunique().eq(2).all()
    assert any("-p groups" in note for note in data.notes), "a reader is told what is not known"


def test_an_archive_of_class_folders_is_one_s_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HV_DATA", str(tmp_path / "cache"))
    class_folders(tmp_path / "packed" / "mine" / "set", FOUR[:2], n=5)
    packed = shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path / "packed")
    assert load_folder(packed, tmp_path).images["label"].value_counts().to_dict() == {
        FOUR[0]: 5,
        FOUR[1]: 5,
    }


def test_splits_of_ones_own_are_kept(tmp_path):
    for split, n in (("Training", 8), ("valid", 3), ("test", 4)):
        class_folders(tmp_path / "mine" / split, FOUR[:3], n)
    data = load_folder(tmp_path / "mine", tmp_path)
    assert data.images["split"].value_counts().to_dict() == {"train": 24, "test": 12, "val": 9}
    for row in data.images.itertuples():
        assert {"train": "Training", "val": "valid"}.get(row.split, row.split) in row.path


def test_a_part_that_is_missing_is_held_out(tmp_path):
    for split, n in (("train", 10), ("test", 4)):
        class_folders(tmp_path / "mine" / split, FOUR[:2], n)
    data = load_folder(tmp_path / "mine", tmp_path, val_fraction=0.2)
    assert data.images["split"].value_counts().to_dict() == {"train": 16, "test": 8, "val": 4}
    shutil.move(tmp_path / "mine" / "test", tmp_path / "mine" / "val")
    data = load_folder(tmp_path / "mine", tmp_path, test_fraction=0.2)
    assert data.images["split"].value_counts().to_dict() == {"train": 16, "val": 8, "test": 4}


def test_what_ones_own_splits_share_gives_way(tmp_path):
    for split, n in (("train", 6), ("val", 3), ("test", 3)):
        class_folders(tmp_path / "mine" / split, FOUR[:2], n)
    folder = tmp_path / "mine"
    for side in ("train", "val"):
        shutil.copy(folder / "test" / FOUR[0] / "000.png", folder / side / FOUR[0] / "copy.png")
    data = load_folder(folder, tmp_path)
    aside = data.images[data.images["split"] == "unplaced"]
    assert [path.split("/")[-3] for path in aside["path"]] == ["train", "val"]
    assert "on no side of the split, since another may show the same: 2 images" in data.notes


def test_groups_stay_on_one_side(tmp_path):
    root = tmp_path / "mine"
    for number in range(60):
        noise(root / FOUR[number % 3] / f"P{number // 6}_{number}.png", seed=number)
    data = load_folder(root, tmp_path, groups="^(P[0-9]+)_")
    images = data.images
    assert images["group"].nunique() == 10
    assert (images.groupby("group")["split"].nunique() == 1).all()
    assert images.groupby("split")["label"].nunique().eq(3).all()
    assert images["cell"].isna().all(), "a patient is no cell"
    assert "groups: 10 for 60 images; each stays on one side" in data.notes


def test_too_few_groups_or_images(tmp_path):
    root = class_folders(tmp_path / "mine", FOUR[:2], n=2)
    refused(root, tmp_path, "at least 3 different images of every class, .* eosinophil has 2")
    root = class_folders(tmp_path / "more", FOUR[:2], n=9)
    refused(root, tmp_path, "at least 3 groups .* has 1", groups="^(0)")
    for label in FOUR[:2]:  # the same picture again and again is one picture
        for number in range(1, 9):
            shutil.copy(root / label / "000.png", root / label / f"{number:03d}.png")
    refused(root, tmp_path, "at least 3 different images of every class, .* has 1")
    assert len(load_folder(class_folders(tmp_path / "few", FOUR[:2], n=3), tmp_path).images) == 6


def test_one_group_on_all_sides(tmp_path):
    for split, n in (("train", 6), ("val", 3), ("test", 3)):
        class_folders(tmp_path / "mine" / split, FOUR[:2], n)
    message = "but of eosinophil, lymphocyte nothing is left: .* such as .*/train/.* and .*/val/"
    refused(tmp_path / "mine", tmp_path, message, groups="^(0)")


def test_a_class_that_cannot_be_read_is_refused(tmp_path):
    root = class_folders(tmp_path / "mine", FOUR[:3], n=4)
    for path in (root / FOUR[1]).iterdir():
        path.write_bytes(b"")
    refused(root, tmp_path, "none of the 4 files of lymphocyte .* the first: .* is empty")


def test_a_file_with_two_labels_is_told(tmp_path):
    root = class_folders(tmp_path / "mine", FOUR[:2], n=6)
    shutil.copy(root / FOUR[0] / "000.png", root / FOUR[1] / "same.png")
    (note,) = (n for n in load_folder(root, tmp_path).notes if "two classes" in n)
    assert "000.png and" in note


@pytest.mark.skipif(os.name == "nt", reason="names there are always text")
def test_file_names_that_are_no_text(tmp_path):
    root = class_folders(tmp_path / "mine", FOUR[:2], n=4)
    (root / FOUR[0] / "000.png").rename(root / FOUR[0] / os.fsdecode(b"caf\xe9.png"))
    data = load_folder(root, tmp_path)
    run = Run.open(tmp_path / "run")
    run.write_table("images.csv", data.images)
    assert list(run.read_table("images.csv")["path"]) == list(data.images["path"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "web"}, "source to be one of demo, kaggle, pbc, chula, folder"),
        ({"source": "folder"}, "-p folder PATH"),
        ({"source": "folder", "folder": "/nowhere/at/all"}, "nothing is at"),
        ({"source": "kaggle", "archive": "/nowhere.zip"}, "nothing is at"),
        ({"source": "pbc"}, "--archive PATH"),
    ],
)
def test_wrong_source(options, message, tmp_path):
    with pytest.raises(HematoVisionError, match=message):
        sources.load(**options, run=Run.open(tmp_path))


def test_folder_with_nothing_readable(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        (tmp_path / "mine" / name / "x.png").write_text("text")
    with pytest.raises(HematoVisionError, match="none of the 1 files of a"):
        sources.load("folder", run=Run.open(tmp_path / "run"), folder=str(tmp_path / "mine"))


def test_run_folder_without_permission_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HematoVisionError, match="expected a run folder that can be written"):
        Run.open(tmp_path / "file" / "run")


def test_artefacts_are_written_whole_or_not_at_all(tmp_path):
    run = Run.open(tmp_path)
    run.write_json("a.json", {"x": np.float32(0.5), "y": np.arange(2)})
    assert run.read_json("a.json") == {"x": 0.5, "y": [0, 1]}
    with pytest.raises(TypeError):
        run.write_json("a.json", {"x": object()})
    assert run.read_json("a.json") == {"x": 0.5, "y": [0, 1]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(HematoVisionError, match=r"run notebooks/03_model.ipynb first"):
        run.need("model.keras", made_by="03_model")


@pytest.mark.real
@pytest.mark.slow
def test_real_archive(real_archive, tmp_path):
    data = sources.load("kaggle", run=Run.open(tmp_path), archive=str(real_archive))
    counts = data.images["split"].replace({"val": "train", "unplaced": "train"})
    counts = counts.value_counts()
    assert counts.to_dict() == {"train": 9957, "test": 2487, "simple": 71}
    assert len(data.left_out) == 0
    assert len(data.photos) == 411
    assert (data.photos["doubt"] == "").sum() == 348


@pytest.mark.parametrize(
    ("source", "given", "other"),
    [
        ("demo", {"archive": "x.zip"}, "kaggle"),
        ("demo", {"folder": "mine"}, "folder"),
        ("folder", {"folder": "mine", "source_map": "map.csv"}, "kaggle"),
        ("kaggle", {"groups": "patients.csv"}, "folder"),
    ],
)
def test_a_path_that_the_source_does_not_read_is_refused(tmp_path, source, given, other):
    name = list(given)[-1]
    with pytest.raises(HematoVisionError, match=f"{name} .*add -p source {other}, or leave"):
        sources.load(source, run=Run.open(tmp_path / "run"), **given)
