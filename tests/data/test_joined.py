"""Several sources in one table: each laboratory on every side, nothing mixed up."""

import shutil

import pytest
from small_images import FOUR, class_folders

from hv_utils.chain import parameters, pipeline
from hv_utils.data import sources
from hv_utils.data.splits import check_no_leak
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run

SMALL = {
    "photos": {"eosinophil": 5, "lymphocyte": 4, "monocyte": 4, "neutrophil": 6},
    "copies_train": 8,
    "copies_test": 4,
}
KINDS = (*FOUR, "basophil")


def join(tmp_path, **settings):
    folder = class_folders(tmp_path / "mine", KINDS, n=8)
    run = Run.open(tmp_path / "run")
    return sources.load("demo,folder", run=run, demo=SMALL, folder=str(folder), **settings)


def test_each_laboratory_is_in_every_part_and_keeps_what_is_known_of_it(tmp_path):
    data = join(tmp_path)
    alone = sources.load("demo", run=Run.open(tmp_path / "run"), demo=SMALL)
    images = data.images
    sides = images.replace({"split": {"simple": "test"}}).groupby("laboratory")["split"].unique()
    assert {name: {"train", "val", "test"} <= set(found) for name, found in sides.items()} == {
        "demo": True,
        "folder": True,
    }
    own = images[images["laboratory"] == "folder"]
    assert own.groupby("split")["label"].nunique().eq(len(KINDS)).all()
    assert (own["cell"] == own["sha256"]).all(), "each image counts as one cell"
    drawn = images[images["laboratory"] == "demo"]
    for name in ("path", "split", "cell", "group"):
        assert list(drawn[name]) == list(alone.images[name]), name
    assert images["path"].is_unique
    check_no_leak(images)
    assert len(data.photos) == len(alone.photos)
    assert data.facts["demo images_sha256"] == alone.facts["images_sha256"]
    assert any(note.startswith("folder: which images") for note in data.notes)


def test_a_file_that_two_sources_hold_stays_on_one_side(tmp_path):
    before = join(tmp_path).images
    tested = before[(before["split"] == "test") & (before["source"] == "demo")].iloc[0]
    shutil.copy(tested["path"], tmp_path / "mine" / tested["label"] / "the-same.jpeg")
    images = join(tmp_path).images
    sides = images.loc[images["sha256"] == tested["sha256"], "split"]
    assert len(sides) == 2
    assert set(sides) <= {"test", "unplaced"}


def test_one_name_for_two_cells_is_refused(tmp_path):
    drawn = join(tmp_path).images["group"].iloc[0]
    names = [f"{label}/{number:03d}.png" for label in KINDS for number in range(8)]
    patients = [drawn, *(f"P{number}" for number in range(1, len(names)))]
    rows = [f"{name},{patient}" for name, patient in zip(names, patients, strict=True)]
    (tmp_path / "groups.csv").write_text("\n".join(["file,patient", *rows]))
    with pytest.raises(HematoVisionError, match=f"both demo and folder call one {drawn}: give one"):
        join(tmp_path, groups=str(tmp_path / "groups.csv"))


@pytest.mark.parametrize(
    ("source", "archive", "message"),
    [
        ("kaggle,pbc", "", "an archive for each of kaggle and pbc, .* but none was given"),
        ("kaggle,pbc", "a.zip", "an archive for each of kaggle and pbc, .* but a.zip"),
        ("kaggle,kaggle", "", "several of them once each"),
        ("kaggle, pbc", "", "several of them once each, such as kaggle,pbc"),
        ("demo,folder", "a.zip", "the source kaggle with archive a.zip"),
    ],
)
def test_what_does_not_fit_together_is_one_line(tmp_path, source, archive, message):
    with pytest.raises(HematoVisionError, match=message) as error:
        sources.load(source, run=Run.open(tmp_path), archive=archive)
    assert "\n" not in str(error.value)


def test_two_archives_are_two_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("a.zip", "b.zip", "one,two.zip"):
        (tmp_path / name).touch()
    pair = parameters.from_command_line([("archive", "a.zip,b.zip")])
    assert pair["archive"] == f"{tmp_path}/a.zip,{tmp_path}/b.zip"
    one = parameters.from_command_line([("archive", "one,two.zip")])
    assert one["archive"] == f"{tmp_path}/one,two.zip", "a comma in a name is part of it"
    second = parameters.from_command_line([("archive", ",b.zip")])
    assert second["archive"] == f",{tmp_path}/b.zip", "the first is downloaded"
    assert [path for path, *_ in pipeline.listed(pair)] == [f"{tmp_path}/{n}.zip" for n in "ab"]
    assert [path for path, *_ in pipeline.listed(one)] == [one["archive"]]
