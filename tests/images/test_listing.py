"""Listing: what people call their images is found, what systems leave behind is not."""

import os

import pytest
from PIL import Image
from small_images import APPLE, noise

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.listing import IMAGE_SUFFIXES, find_images, images_below
from hv_utils.images.reading import read_image

LEFT_BEHIND = [
    *("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png"),
    *("__MACOSX/._a.png", ".thumbnails/a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg"),
    *(".ipynb_checkpoints/a.png", "$RECYCLE.BIN/$R1.png", "lost+found/a.png", "#recycle/a.png"),
    "System Volume Information/a.png",
]


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).touch()
    return root


def names(listing, root):
    return [path.relative_to(root).as_posix() for path in listing.files]


def test_what_a_system_left_behind_is_no_image(tmp_path):
    touch(tmp_path, "a.png", "below/b.JPG", *LEFT_BEHIND)
    listing = images_below(tmp_path)
    assert names(listing, tmp_path) == ["a.png", "below/b.JPG"]
    assert not listing.others
    assert names(find_images([tmp_path / "**" / "*"]), tmp_path) == ["a.png", "below/b.JPG"]


def test_a_shell_names_system_files_too_and_they_are_passed_over(tmp_path):
    touch(tmp_path, "a.png", *LEFT_BEHIND)
    expanded = [path for path in sorted(tmp_path.iterdir()) if not path.name.startswith(".")]
    assert len(expanded) > 5
    assert names(find_images(expanded), tmp_path) == ["a.png"]
    with pytest.raises(HematoVisionError, match="a system left behind"):
        find_images([tmp_path / "Thumbs.db"])


def test_a_hidden_folder_that_is_named_is_meant(tmp_path):
    touch(tmp_path, ".mine/a.png", ".mine/.thumbnails/a.png")
    assert names(find_images([tmp_path / ".mine"]), tmp_path) == [".mine/a.png"]


def test_other_files_are_counted_and_named(tmp_path):
    touch(tmp_path, "a.png", "b.heic", "c.HEIC", "notes.txt", "IMG0001")
    line = find_images([tmp_path]).left_out()
    assert line == (
        "left out as no images by their endings: 4 files, .heic (2), "
        "without an ending (1), .txt (1)"
    )
    touch(tmp_path / "raw", "a.heic")
    with pytest.raises(HematoVisionError, match=r"it has none: left out .* \.heic \(1\)"):
        find_images([tmp_path / "raw"])


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_ending_can_be_read(tmp_path, suffix):
    Image.init()
    if suffix not in Image.registered_extensions():
        pytest.skip(f"this Pillow reads no {suffix}")
    path = tmp_path / f"cell{suffix.upper()}"
    kind = Image.registered_extensions()[suffix]
    Image.new("L" if suffix in (".pgm", ".pbm") else "RGB", (20, 20), 255).save(path, kind)
    assert find_images([tmp_path]).files == [path]
    assert read_image(path).shape == (20, 20, 3)


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    touch(tmp_path / "elsewhere", "deep/b.png")
    touch(tmp_path / "mine", "a.png")
    (tmp_path / "mine" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine" / "loop").symlink_to(tmp_path / "mine")
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(tmp_path / "mine")
    (tmp_path / "mine" / "itself").symlink_to("itself")
    assert names(images_below(tmp_path / "mine"), tmp_path) == [
        "mine/a.png",
        "mine/link/deep/b.png",
    ]


def test_a_link_that_leads_nowhere_is_not_lost(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert names(images_below(tmp_path), tmp_path) == ["gone.png"]


@pytest.mark.skipif(os.name == "nt", reason="names there are always text")
def test_names_in_any_script_and_in_none(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(raw, "wb") as file:
        file.write(noise(tmp_path / "клетка 细胞 🔬.png").read_bytes())
    files = find_images([tmp_path]).files
    assert len(files) == 2
    assert {read_image(path).shape for path in files} == {(40, 50, 3)}


def test_apple_twins_are_not_images(tmp_path):
    twin = noise(tmp_path / "a.png").with_name("._a.png")
    twin.write_bytes(APPLE)
    assert names(images_below(tmp_path), tmp_path) == ["a.png"]


def test_find_images(tmp_path):
    touch(tmp_path, "a.jpg", "b.png", "c.png")
    files = find_images([tmp_path / "*.png", tmp_path / "a.jpg", tmp_path]).files
    assert [file.name for file in files] == ["b.png", "c.png", "a.jpg"]
    for nothing in (tmp_path / "none.png", tmp_path / "*.gif"):
        with pytest.raises(HematoVisionError, match="nothing is at"):
            find_images([nothing])
    (tmp_path / "empty").mkdir()
    with pytest.raises(HematoVisionError, match="expected images in the folder"):
        find_images([tmp_path / "empty"])
    with pytest.raises(HematoVisionError, match="the path is empty"):
        find_images([""])
    with pytest.raises(HematoVisionError, match="cannot be looked up"):
        find_images(["x" * 300])


def test_patterns_may_name_folders_and_folders_may_have_brackets(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "br[1]/x.png", "below/deep/y.png", "below/z.png")
    monkeypatch.chdir(tmp_path)
    for given, expected in {
        "br[1]/*.png": ["br[1]/x.png"],
        "below/*": ["below/deep/y.png", "below/z.png"],
        "below/**/*.png": ["below/deep/y.png", "below/z.png"],
    }.items():
        assert list(map(str, find_images([given]).files)) == expected
    twice = find_images(["a.png", tmp_path / "a.png"])
    assert len(twice.files) == 1, "one file, named in two ways"
    assert list(map(str, find_images(["."], besides="below").files)) == ["a.png", "br[1]/x.png"]
    with pytest.raises(HematoVisionError, match="where the overlays go"):
        find_images(["below"], besides="below")
