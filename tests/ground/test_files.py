"""Files are written whole or not at all; in paths and patterns what exists is meant as it is."""

import errno
import os

import pytest

from hv_utils.chain import parameters
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, matches, renewed_json


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in ("a.png", "br[1]/x.png", "below/deep/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.png", ["a.png"]),
        ("br[1]", ["br[1]"]),
        ("br[1]/*.png", ["br[1]/x.png"]),
        ("below/**/*.png", ["below/deep/y.png"]),
        ("*", ["a.png", "below", "br[1]"]),
        ("nothing/*.png", []),
    ],
)
def test_matches(here, given, expected):
    assert [str(path) for path in matches(given)] == expected
    assert matches(here / given) == [here / name for name in expected]


def test_a_parameter_means_what_a_prediction_means(here):
    found = parameters.from_command_line([("images", "br[1]/*.png")])
    assert found == {"images": str(here / "br[1]/*.png")}


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        FileNotFoundError(errno.ENOENT, "No such file", "/another/image.png"),
        HematoVisionError("an image that cannot be read"),
        KeyboardInterrupt(),
    ],
)
def test_what_others_did_in_the_block_passes_as_it_is(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(type(error)) as raised:
        write_half(path, error)
    assert raised.value is error
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_full_disk_and_a_place_that_cannot_be_are_one_line(tmp_path):
    path, full = tmp_path / "table.csv", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(HematoVisionError, match=r"table\.csv cannot be \(No space left.*make room"):
        write_half(path, full)
    assert not os.listdir(tmp_path)
    path.touch()
    for below in ("a.csv", "b/a.csv"):
        with pytest.raises(HematoVisionError, match=r"a\.csv cannot be"):
            write_half(path / below, full)


def write_half(path, error):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"[]", b"3", b"\xff\xfe"])
def test_a_damaged_record_is_put_aside_with_one_line(tmp_path, capsys, content):
    path = tmp_path / "manifest.json"
    assert renewed_json(path) == {}
    path.write_bytes(content)
    assert renewed_json(path) == renewed_json(path) == {}
    assert (tmp_path / "manifest.json.damaged").read_bytes() == content
    assert len(capsys.readouterr().err.splitlines()) == 1
    path.write_text('{"a": 1}')
    assert renewed_json(path) == {"a": 1}
