"""Paths and patterns: what exists is meant as it is."""

import pytest

from hv_utils.chain import parameters
from hv_utils.ground.files import matches


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
