"""Archives: good ones are unpacked once, bad ones are refused in one line, nothing is left over."""

import io
import tarfile
import zipfile

import pytest

from hv_utils.data import archive
from hv_utils.data.archive import open_archive
from hv_utils.ground.errors import HematoVisionError

NAMES = ("images/TRAIN/MONOCYTE/_0_1.jpeg", "images/TEST/MONOCYTE/_0_2.jpeg")


def make_zip(path, names=NAMES):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "content of " * 50)
    return path


def make_tar(path, names=NAMES, mode="w:gz", links=()):
    if not hasattr(tarfile, "data_filter"):
        pytest.skip("Python before 3.11.4 cannot unpack tar files safely")
    with tarfile.open(path, mode) as file:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 550
            file.addfile(entry, io.BytesIO(b"content of " * 50))
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            file.addfile(entry)
    return path


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def unpacked(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def refused(path, cache, message):
    with pytest.raises(HematoVisionError, match=message) as caught:
        open_archive(path, cache=cache)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("*")), "something is left over"


def test_an_archive_is_unpacked_once_under_its_fingerprint(tmp_path, cache):
    path = make_zip(tmp_path / "set.zip")
    root, facts = open_archive(path, cache=cache)
    assert unpacked(root) == sorted(NAMES)
    assert facts["sha256"] == archive.fingerprint(path)
    assert root.name == f"set-{facts['sha256'][:12]}"
    marker = root / "marker"
    marker.touch()
    assert open_archive(path.rename(tmp_path / "renamed.zip"), cache=cache)[0] == root
    assert marker.exists(), "the second call unpacked again"
    assert open_archive(root)[0] == root, "the unpacked folder serves as well"


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_tar_files_are_unpacked_too(tmp_path, cache, ending):
    mode = {".tar": "w", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}.get(ending, "w:gz")
    names = [f"./{name}" for name in NAMES]  # as `tar -C folder .` writes them
    root, _ = open_archive(make_tar(tmp_path / f"set{ending}", names, mode), cache=cache)
    assert unpacked(root) == sorted(NAMES)


def test_what_a_system_packed_along_stays_out(tmp_path, cache):
    odd = ["__MACOSX/images/TRAIN/MONOCYTE/._0_1.jpeg", "images/.DS_Store", "images/Thumbs.db"]
    assert unpacked(open_archive(make_zip(tmp_path / "a.zip", [*odd, *NAMES]), cache=cache)[0]) == (
        sorted(NAMES)
    )
    assert unpacked(open_archive(make_tar(tmp_path / "a.tgz", [*odd, *NAMES]), cache=cache)[0]) == (
        sorted(NAMES)
    )


def test_backslashes_are_folders(tmp_path, cache):
    path = make_zip(tmp_path / "set.zip")
    content = path.read_bytes()
    for part in ("images", "TRAIN", "TEST", "MONOCYTE"):
        content = content.replace(f"{part}/".encode(), f"{part}\\".encode())
    path.write_bytes(content)
    assert unpacked(open_archive(path, cache=cache)[0]) == sorted(NAMES)


def test_folder_entries_or_none(tmp_path, cache):
    path = make_zip(tmp_path / "set.zip")
    with zipfile.ZipFile(path, "a") as file:
        file.mkdir("images/TEST_SIMPLE")
    root, _ = open_archive(path, cache=cache)
    assert (root / "images" / "TEST_SIMPLE").is_dir()


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil", "a/../../evil", "C:/evil", "..\\evil"]
)
def test_entry_that_climbs_out_is_refused(tmp_path, cache, name):
    refused(make_zip(tmp_path / "a.zip", [*NAMES, name]), cache, "to stay in its folder")
    if "\\" not in name:
        refused(make_tar(tmp_path / "a.tgz", [*NAMES, name]), cache, "to stay in its folder")
    assert not (tmp_path / "evil.txt").exists()


def test_a_link_that_climbs_out_is_refused(tmp_path, cache):
    path = make_tar(tmp_path / "a.tgz", links=[("images/out", "/etc/passwd")])
    refused(path, cache, "to stay in its folder")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not found", "expected a whole zip or tar file"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), "is a 7z archive: unpack it by hand"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(50), "is a RAR archive: unpack it by hand"),
        (b"", "expected a whole zip or tar file"),
    ],
)
def test_other_files_are_refused(tmp_path, cache, content, message):
    (tmp_path / "set.zip").write_bytes(content)
    refused(tmp_path / "set.zip", cache, message)


@pytest.mark.parametrize("kept", [0.3, 0.9])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_truncated_archive(tmp_path, cache, kept, make):
    path = make(tmp_path / "set")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused(path, cache, "cut short")


def test_damaged_entry_leaves_nothing_behind(tmp_path, cache):
    path = make_zip(tmp_path / "set.zip")
    path.write_bytes(path.read_bytes().replace(b"content of ", b"Content of ", 1))
    refused(path, cache, "cut short")


def test_damaged_stream_leaves_nothing_behind(tmp_path, cache):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("TRAIN/a.jpg", bytes(range(256)) * 50)
    content = bytearray(path.read_bytes())
    start = 30 + len("TRAIN/a.jpg")  # behind the entry's header
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    refused(path, cache, "cut short")


def patch_entries(path, *, flag=None, method=None):
    """Change the flags or the method of every entry, in its own header and in the directory."""
    content = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(magic)
        while start >= 0:
            if flag is not None:
                content[start + at] |= flag
            if method is not None:
                content[start + at + 2] = method
            start = content.find(magic, start + 4)
    path.write_bytes(content)
    return path


def test_a_password_and_a_rare_method_are_told_apart(tmp_path, cache):
    locked = patch_entries(make_zip(tmp_path / "locked.zip"), flag=1)
    refused(locked, cache, "without a password")
    deflate64 = patch_entries(make_zip(tmp_path / "rare.zip"), method=9)
    refused(deflate64, cache, "packed in the usual way")


def test_an_archive_of_archives_says_so(tmp_path, cache):
    path = make_zip(tmp_path / "outer.zip", ["set/inner.zip", "set/readme.txt"])
    refused(path, cache, "holds further archives, such as set/inner.zip")


def test_a_bomb_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 600)
    refused(make_zip(tmp_path / "set.zip"), cache, "GiB")
    refused(make_tar(tmp_path / "set.tgz"), cache, "GiB")


def test_nothing_there(tmp_path):
    with pytest.raises(HematoVisionError, match="nothing is at"):
        open_archive(tmp_path / "none.zip")


def test_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(HematoVisionError, match="could not unpack"):
        open_archive(make_zip(tmp_path / "set.zip"), cache=tmp_path / "cache")


def test_an_old_python_is_told_to_take_another_archive(cache, tmp_path, monkeypatch):
    tar = make_tar(tmp_path / "set.tar.gz")
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(HematoVisionError, match=r"expected Python 3\.11\.4 or newer .* as zip"):
        open_archive(tar, cache=cache)
