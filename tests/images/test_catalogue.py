"""The list of images on disk: that of `find_images`, however long it is."""

import os
import tracemalloc
from pathlib import Path

import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images import catalogue
from hv_utils.images.catalogue import Catalogue, catalogue_of
from hv_utils.images.listing import find_images


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    for name in ("b.png", "a.JPG", "below/c.png", "__MACOSX/._a.JPG", "note.txt", "caf\udce9.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "link.png").symlink_to(folder / "b.png")
    return folder


def paths(images, size=2):
    return [one.path for part in images.parts(size) for one in part]


def test_it_lists_what_find_images_lists(folder, tmp_path):
    for number, given in enumerate(
        ([folder], [folder / "*.png"], [folder / "below", folder], [folder / "b.png"] * 2)
    ):
        images = catalogue_of(given, tmp_path / f"list-{number}")
        listing = find_images(given)
        found = {os.path.realpath(path) for path in paths(images)}
        assert found == {os.path.realpath(path) for path in listing.files}
        assert len(images) == len(listing.files) == len(paths(images))
        assert images.left_out() == listing.left_out()
        images.close()


def test_what_is_named_first_comes_first_and_a_folder_is_sorted(folder, tmp_path):
    images = catalogue_of([folder / "below", folder], tmp_path / "list")
    names = [Path(path).name for path in paths(images)]
    rest = [name for name in names[1:] if name not in ("b.png", "link.png")]  # one of these
    assert [names[0], *rest] == ["c.png", "a.JPG", "caf\udce9.png"]
    assert len(names) == 4


def test_a_change_shows(folder, tmp_path):
    (folder / "link.png").unlink()
    before = next(catalogue_of([folder], tmp_path / "1").parts(100))
    os.utime(folder / "b.png", (1, 1))
    (folder / "a.JPG").write_text("x")
    after = next(catalogue_of([folder], tmp_path / "2").parts(100))
    changed = [Path(old.path).name for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["a.JPG", "b.png"]


@pytest.mark.parametrize("given", ["nothing", "images/__MACOSX", ""])
def test_no_images_are_one_line(folder, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HematoVisionError, match="expected"):
        catalogue_of([given], tmp_path / "list")


def test_many_images_take_no_more_memory_than_few(tmp_path, monkeypatch):
    def peak(count):
        # No `Path`: Python keeps a table of the names that it has seen in them.
        files = (f"/images/{number % 97}/{number}.png" for number in range(count))
        monkeypatch.setattr(catalogue, "images_named", lambda given, others, ordered: files)
        images = Catalogue(tmp_path / f"list-{count}")
        tracemalloc.start()
        images.add("/images")
        found = sum(len(part) for part in images.parts(500))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        images.close()
        assert found == count
        return most

    peak(100)  # whatever is loaded once
    few, many = peak(1_000), peak(10_000)
    assert many < few + 100_000
