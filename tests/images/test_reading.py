import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.reading import ImageError, read_image, resize, thumbnails


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def save(tmp_path, image, name="cell.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_rgb_is_kept_as_it_is(tmp_path, picture):
    read = read_image(save(tmp_path, Image.fromarray(picture)))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, picture)
    read[:] = 0  # the array belongs to the caller


def test_greyscale_gets_three_equal_channels(tmp_path, picture):
    read = read_image(save(tmp_path, Image.fromarray(picture[:, :, 0])))
    for channel in range(3):
        np.testing.assert_array_equal(read[:, :, channel], picture[:, :, 0])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix):
    deep = np.linspace(0, 65_535, 24 * 32).reshape(24, 32).astype(np.uint16)
    read = read_image(save(tmp_path, Image.fromarray(deep), f"deep.{suffix}"))
    np.testing.assert_allclose(read[:, :, 1], deep / 257, atol=0.51)


def test_twelve_bits_in_sixteen_are_not_taken_for_black(tmp_path):
    Image.fromarray(np.full((20, 20), 4000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ImageError, match="uses 12 of the 16 bits"):
        read_image(tmp_path / "deep.png")


def test_transparency_lies_over_white(tmp_path):
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[:10, :, 3] = 255  # the upper half is opaque black, the lower half invisible black
    read = read_image(save(tmp_path, Image.fromarray(rgba)))
    assert (read[:10] == 0).all()
    assert (read[10:] == 255).all()


def test_transparent_palette_lies_over_white(tmp_path):
    image = Image.new("P", (20, 20), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 20, 10))
    read = read_image(save(tmp_path, image, "palette.gif", transparency=0))
    assert (read[:10] == (200, 100, 50)).all()
    assert (read[10:] == 255).all()


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    read = read_image(save(tmp_path, image, "print.tif"))
    assert (read == (255, 0, 0)).all()


def test_camera_orientation_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    read = read_image(save(tmp_path, Image.fromarray(picture), exif=exif))
    np.testing.assert_array_equal(read, np.rot90(picture, -1))


def broken_files(tmp_path):
    whole = save(tmp_path, Image.new("RGB", (64, 64), "pink"), "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("this is no image")
    (tmp_path / "noise.png").write_bytes(np.random.default_rng(0).bytes(500))
    (tmp_path / "folder.png").mkdir()
    save(tmp_path, Image.new("RGB", (8, 8)), "tiny.png")
    save(tmp_path, Image.new("1", (10_001, 16)), "long.png")
    save(tmp_path, Image.new("F", (20, 20)), "float.tif")
    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 60_000))


def png_header(width, height):
    """A PNG whose header claims a size and whose pixels are missing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body
    return head + struct.pack(">I", zlib.crc32(body)) + struct.pack(">I", 9999) + b"IDAT"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cut.jpg", "breaks off"),
        ("empty.png", "is empty"),
        ("text.jpg", "no known image format"),
        ("noise.png", "no known image format"),
        ("folder.png", "is a folder"),
        ("missing.png", "nothing is at"),
        ("tiny.png", "at least 16"),
        ("long.png", "at most 10000"),
        ("float.tif", "floating-point"),
        ("bomb.png", "at most 10000"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(tmp_path, name, expected):
    broken_files(tmp_path)
    with pytest.raises(ImageError, match=expected) as caught:
        read_image(tmp_path / name)
    assert isinstance(caught.value, HematoVisionError)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_resize_gives_height_and_width_in_that_order(picture):
    small = resize(picture, (10, 20))
    assert small.shape == (10, 20, 3)
    assert small.dtype == np.uint8
    assert abs(small.mean() - picture.mean()) < 3


def test_shrinking_does_not_alias():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resize(stripes, (16, 16))[2:-2, 2:-2].astype(int)) < 40


def test_resize_to_the_same_size_changes_nothing(picture):
    np.testing.assert_array_equal(resize(picture, (24, 32)), picture)


def test_thumbnails(tmp_path, picture):
    path = save(tmp_path, Image.fromarray(picture))
    assert thumbnails([path, path], size=(12, 16)).shape == (2, 12, 16, 3)
    assert thumbnails([], size=(12, 16)).shape == (0, 12, 16, 3)
