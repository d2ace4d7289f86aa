"""The layout of the real set, as archives and people change it, on small pictures."""

import shutil
import tarfile

import pytest
from small_images import APPLE, FOUR, class_folders, noise

from hv_utils.data import kaggle
from hv_utils.data.protocol import Settings
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run

BOX = "<object><name>WBC</name><bndbox>{}</bndbox></object>"


@pytest.fixture
def layout(tmp_path):
    """Make a set of a few copies, and of photos with their annotations and labels.csv."""
    root = tmp_path / "archive"
    for split, n in (("TRAIN", 4), ("TEST", 2)):
        class_folders(
            root / "b" / "images" / split, tuple(n.upper() for n in FOUR), n, suffix=".jpeg"
        )
    rows = ["Image,Category"]
    for number in range(8):
        name = f"BloodImage_{number:05d}"
        noise(root / "a" / "JPEGImages" / f"{name}.jpg", seed=number)
        annotate(root, number, (10, 10, 30, 30))
        rows.append(f"{number},{FOUR[number % 4].upper()}")
    (root / "a" / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def annotate(root, number, corners):
    path = root / "a" / "Annotations" / f"BloodImage_{number:05d}.xml"
    path.parent.mkdir(exist_ok=True, parents=True)
    names = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(names, corners, strict=True))
    path.write_text(f"<annotation>{BOX.format(box)}</annotation>")
    return path


def read(root, tmp_path):
    return kaggle.read(kaggle.find(Settings(Run.open(tmp_path / "run"), archive=str(root))))


def test_images_and_photos_are_read(layout, tmp_path):
    contents = read(layout, tmp_path)
    counts = contents.files.groupby(["split", "label"]).size()
    assert (counts["train"] == 4).all()
    assert (counts["test"] == 2).all()
    assert len(contents.photos) == 8
    assert (contents.photos["doubt"] == "").all()
    assert not contents.left_out
    assert not contents.notes


@pytest.mark.parametrize("ending", ["zip", "gztar"])
def test_packed_on_a_mac(layout, tmp_path, monkeypatch, ending):
    if ending == "gztar" and not hasattr(tarfile, "data_filter"):
        pytest.skip("Python before 3.11.4 cannot unpack tar files safely")
    monkeypatch.setenv("HV_DATA", str(tmp_path / "cache"))
    for path in sorted(layout.rglob("*.jpeg")):
        twin = layout / "__MACOSX" / path.relative_to(layout).with_name(f"._{path.name}")
        twin.parent.mkdir(exist_ok=True, parents=True)
        twin.write_bytes(APPLE)
    whole = read(layout, tmp_path).files
    packed = shutil.make_archive(str(tmp_path / "set"), ending, layout)
    assert len(whole) == len(read(packed, tmp_path).files) == 24


def test_labels_saved_by_a_spreadsheet(layout, tmp_path):
    labels = layout / "a" / "labels.csv"
    expected = read(layout, tmp_path).photos
    rows = [line.split(",") for line in labels.read_text().splitlines()[1:]]
    lines = ["Image;Category", *(f"{number}.0;{name}" for number, name in rows), ";", ";"]
    labels.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert read(layout, tmp_path).photos.equals(expected)
    labels.write_text("\n".join([*lines, "total;8"]))
    contents = read(layout, tmp_path)
    assert contents.photos.equals(expected)
    assert contents.left_out == [(str(labels), "1 of its rows name no photo")]
    labels.write_text("Photo,Kind\n1,NEUTROPHIL\n")
    with pytest.raises(HematoVisionError, match="column called image"):
        read(layout, tmp_path)


def test_one_bad_annotation_is_left_out_and_listed(layout, tmp_path):
    bad = annotate(layout, 3, (40, 10, 30, 20))
    contents = read(layout, tmp_path)
    doubts = contents.photos.set_index("photo")["doubt"]
    assert doubts["00003"] == "annotation damaged"
    assert (doubts.drop("00003") == "").all()
    ((path, reason),) = contents.left_out
    assert path == str(bad)
    assert "corners are swapped" in reason


def test_the_classes_are_those_of_the_copies(layout, tmp_path):
    """A class beyond the four counts where the set has copies of it, and is doubtful else."""
    labels = layout / "a" / "labels.csv"
    labels.write_text("Image,Category\n1,BASOPHIL\n2,NEUTROPHIL\n")
    assert list(read(layout, tmp_path).photos["doubt"]) == ["another class", ""]
    for split in ("TRAIN", "TEST"):
        class_folders(layout / "b" / "images" / split, ("BASOPHIL",), n=1)
    assert list(read(layout, tmp_path).photos["doubt"]) == ["", ""]


def test_parts_that_are_missing(layout, tmp_path):
    shutil.rmtree(layout / "b" / "images" / "TEST")
    with pytest.raises(HematoVisionError, match="expected a folder TEST beside TRAIN"):
        read(layout, tmp_path)
    shutil.rmtree(layout / "b")
    with pytest.raises(HematoVisionError, match="expected a folder TRAIN"):
        read(layout, tmp_path)


def test_no_network_says_how_to_get_it_by_hand(monkeypatch):
    import kagglehub

    def refuse(name):
        raise ConnectionError("Network is unreachable\nand a long story")

    monkeypatch.setattr(kagglehub, "dataset_download", refuse)
    with pytest.raises(HematoVisionError, match=r"by hand .*--archive") as caught:
        kaggle.download()
    assert "\n" not in str(caught.value)
