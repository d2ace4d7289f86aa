"""Archives: good ones are unpacked once, bad ones are refused in one line, nothing is left over."""

import zipfile

import pytest

from hv_utils.data import archive
from hv_utils.data.archive import find_folder, open_archive
from hv_utils.ground.errors import HematoVisionError


def make_zip(
    path, names=("a/b/images/TRAIN/MONOCYTE/_0_1.jpeg", "a/b/images/TEST/MONOCYTE/_0_2.jpeg")
):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "content of " * 50)
    return path


def test_zip_is_unpacked_once_under_its_fingerprint(tmp_path):
    path = make_zip(tmp_path / "set.zip")
    root, facts = open_archive(path, cache=tmp_path / "cache")
    assert find_folder(root, "TRAIN").parent.name == "images"
    assert facts["sha256"] == archive.fingerprint(path)
    assert root.name.endswith(facts["sha256"][:12])
    marker = root / "marker"
    marker.touch()
    assert open_archive(path, cache=tmp_path / "cache")[0] == root
    assert marker.exists(), "the second call unpacked again"
    # The unpacked folder serves as well, from any depth.
    assert open_archive(root)[0] == root
    assert open_archive(root / "a" / "b" / "images")[0] == root / "a" / "b" / "images"


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil", "a/../../evil", "C:/evil", "..\\evil"]
)
def test_entry_that_climbs_out_is_refused(tmp_path, name):
    path = make_zip(tmp_path / "set.zip", ["images/TRAIN/A/1.jpg", name])
    with pytest.raises(HematoVisionError, match="to stay in its folder"):
        open_archive(path, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))
    assert not (tmp_path / "evil.txt").exists()


def test_text_is_no_zip(tmp_path):
    (tmp_path / "set.zip").write_text("not found")
    with pytest.raises(HematoVisionError, match="expected a whole zip file"):
        open_archive(tmp_path / "set.zip", cache=tmp_path / "cache")


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_zip(tmp_path, kept):
    path = make_zip(tmp_path / "set.zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(HematoVisionError, match="cut short"):
        open_archive(path, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_damaged_entry_leaves_nothing_behind(tmp_path):
    path = make_zip(tmp_path / "set.zip")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"content of ", b"Content of ", 1))
    with pytest.raises(HematoVisionError, match="cut short"):
        open_archive(path, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_damaged_stream_leaves_nothing_behind(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("TRAIN/a.txt", bytes(range(256)) * 50)
    content = bytearray(path.read_bytes())
    start = 30 + len("TRAIN/a.txt")  # behind the entry's header
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(HematoVisionError, match="cut short"):
        open_archive(path, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_archive_of_something_else(tmp_path):
    path = make_zip(tmp_path / "set.zip", ["holiday/beach.jpg"])
    with pytest.raises(HematoVisionError, match="expected a folder TRAIN"):
        open_archive(path, cache=tmp_path / "cache")


def test_zip_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(HematoVisionError, match="GiB"):
        open_archive(make_zip(tmp_path / "set.zip"), cache=tmp_path / "cache")


def test_nothing_there(tmp_path):
    with pytest.raises(HematoVisionError, match="--archive"):
        open_archive(tmp_path / "none.zip")


def test_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(HematoVisionError, match="could not unpack"):
        open_archive(make_zip(tmp_path / "set.zip"), cache=tmp_path / "cache")


def test_no_network_says_how_to_get_it_by_hand(monkeypatch):
    import kagglehub

    def refuse(name):
        raise ConnectionError("Network is unreachable\nand a long story")

    monkeypatch.setattr(kagglehub, "dataset_download", refuse)
    with pytest.raises(HematoVisionError, match=r"by hand .*--archive") as caught:
        open_archive("")
    assert "\n" not in str(caught.value)
