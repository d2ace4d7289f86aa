"""The image table: three sources, one contract; what is wrong is refused or listed."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

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


def noise(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def class_folders(root, count=12):
    for index in range(count):
        noise(root / "Monocyte" / f"{index}.png", seed=index)
        noise(root / "basophil" / f"{index}.png", seed=100 + index)
    return root


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
        assert row.xmin - 5 <= xs.min() <= xs.max() <= row.xmax + 5
        assert row.ymin - 5 <= ys.min() <= ys.max() <= row.ymax + 5


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


def test_folder_of_ones_own(tmp_path):
    root = class_folders(tmp_path / "mine")
    data = sources.load("folder", run=Run.open(tmp_path / "run"), folder=str(root), seed=1)
    assert set(data.images["label"]) == {"basophil", "monocyte"}
    assert set(data.images["split"]) == {"train", "val", "test"}
    assert data.images["cell"].isna().all()
    assert data.images.groupby("split")["label"].nunique().eq(2).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "web"}, "source to be one of demo, kaggle, folder"),
        ({"source": "folder"}, "-p folder PATH"),
        ({"source": "folder", "folder": "/nowhere/at/all"}, "nothing is at"),
        ({"source": "kaggle", "archive": "/nowhere.zip"}, "nothing is at"),
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
