"""Folders as labels: splits are seen, labels are text, what does not fit is said."""

import os

import pytest
from small_images import APPLE, FOUR, class_folders, noise

from hv_utils.data.layout import read_folders, split_named
from hv_utils.ground.errors import HematoVisionError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[(name, "train") for name in ("train", "Train", "TRAINING", "train_set", "Training-Data")],
        *[(name, "val") for name in ("val", "valid", "Validation", "dev", "val_images")],
        *[(name, "test") for name in ("test", "Test", "testing", "Test-A", "test_set", "test2")],
        ("TEST_SIMPLE", "simple"),
        *[(name, "") for name in ("neutrophil", "trained", "tests of blood", "evaluate", "devil")],
    ],
)
def test_names_of_splits(name, split):
    assert split_named(name) == split


def counts(files):
    return files.groupby(["split", "label"]).size().to_dict()


def test_class_folders_are_all_training(tmp_path):
    files, notes = read_folders(class_folders(tmp_path, ("Monocyte", "basophil"), n=3))
    assert counts(files) == {("train", "basophil"): 3, ("train", "monocyte"): 3}
    assert not notes


def test_folders_of_splits_are_the_splits_above_and_within_classes(tmp_path):
    expected = {}
    for name, split, n in (("Train", "train", 3), ("valid", "val", 2), ("testing", "test", 1)):
        class_folders(tmp_path / "above" / name, FOUR[:2], n)
        for label in FOUR[:2]:
            class_folders(tmp_path / "within" / label, (name,), n)
            expected[split, label] = n
    assert counts(read_folders(tmp_path / "above")[0]) == expected
    assert counts(read_folders(tmp_path / "within")[0]) == expected


def test_labels_are_text(tmp_path):
    labels = ("01", "1", "10", "nan", "none", "null", "true")
    files, _ = read_folders(class_folders(tmp_path, labels, n=1))
    assert tuple(files["label"]) == labels


def test_what_a_system_left_behind_is_no_class_and_no_image(tmp_path):
    class_folders(tmp_path, FOUR[:2], n=2)
    for path in sorted(tmp_path.rglob("*.png")):
        path.with_name(f"._{path.name}").write_bytes(APPLE)
        noise(path.parent / ".thumbnails" / path.name)
        noise(path.parent / "@eaDir" / path.name / "SYNOPHOTO_THUMB_M.png")
    class_folders(tmp_path / "__MACOSX", FOUR[:2], n=2)
    noise(tmp_path / ".ipynb_checkpoints" / "a.png")
    files, notes = read_folders(tmp_path)
    assert counts(files) == {("train", name): 2 for name in FOUR[:2]}
    assert not notes


def test_what_is_left_out_is_counted_and_named(tmp_path):
    class_folders(tmp_path, FOUR[:2], n=2)
    (tmp_path / "notes.txt").touch()
    (tmp_path / FOUR[0] / "raw.heic").touch()
    noise(tmp_path / "overview.png")
    _, notes = read_folders(tmp_path)
    assert "2 files" in notes[0]
    assert ".heic (1)" in notes[0]
    assert "in no class folder: 1 images" in notes[1]


def test_two_folders_of_one_class(tmp_path):
    class_folders(tmp_path, ("neutrophil", "Neutrophils"), n=2)
    with pytest.raises(HematoVisionError, match="Neutrophils, neutrophil are all neutrophil"):
        read_folders(tmp_path)
    class_folders(tmp_path, ("monocyte",), n=2)
    files, notes = read_folders(tmp_path)
    assert counts(files) == {("train", "monocyte"): 2, ("train", "neutrophil"): 4}
    assert "taken as one class, neutrophil" in notes[0]


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path):
    for split, name in (("train", "e\u0301o"), ("test", "\u00e9o")):  # as a Mac and Windows write
        class_folders(tmp_path / split, (name, "other"), n=1)
    files, _ = read_folders(tmp_path)
    assert set(files["label"]) == {"\u00e9o", "other"}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"train": FOUR[:2], "": FOUR[2:3]}, "for all images .* or for none"),
        ({"val": FOUR[:2], "test": FOUR[:2]}, "expected a train folder"),
        ({"train": FOUR[:3], "test": FOUR[:2]}, "test lacks monocyte"),
        ({"train": FOUR[:2], "val": FOUR[:3], "test": FOUR[:2]}, "train lacks monocyte"),
        ({"train": FOUR[:1], "test": FOUR[:1]}, "at least two classes"),
        ({"": FOUR[:1]}, "at least two class folders in .*, but it has 1"),
    ],
)
def test_splits_and_classes_that_do_not_fit(tmp_path, folders, message):
    for folder, names in folders.items():
        class_folders(tmp_path / folder, names, n=2)
    with pytest.raises(HematoVisionError, match=message) as caught:
        read_folders(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_empty_class_folder(tmp_path):
    class_folders(tmp_path, FOUR[:2], n=1)
    (tmp_path / "zzz").mkdir()
    (tmp_path / "zzz" / "a.heic").touch()
    with pytest.raises(HematoVisionError, match=r"class folder .*zzz, but it has none .*heic"):
        read_folders(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="names there are always text")
def test_a_class_whose_name_is_no_text(tmp_path):
    class_folders(tmp_path, FOUR[:1], n=1)
    class_folders(tmp_path, (os.fsdecode(b"caf\xe9"),), n=1)
    with pytest.raises(HematoVisionError, match="not UTF-8: rename it") as caught:
        read_folders(tmp_path)
    str(caught.value).encode()


def test_nothing_there(tmp_path):
    with pytest.raises(HematoVisionError, match="but there is none"):
        read_folders(tmp_path / "none")
