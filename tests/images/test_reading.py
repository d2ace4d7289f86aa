import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.reading import (
    ImageError,
    SentImage,
    read_image,
    read_resized,
    resize,
    thumbnails,
)


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


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_few_bits_in_sixteen_are_not_taken_for_black(tmp_path, bits, channels, suffix):
    deep = np.full((20, 24, channels), 2**bits - 1, np.uint16)
    deep[:, :, 3:] = 65_535  # opaque
    cv2.imwrite(str(tmp_path / f"deep.{suffix}"), deep)
    with pytest.raises(ImageError, match=f"uses {bits} of the 16 bits"):
        read_image(tmp_path / f"deep.{suffix}")


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.ppm"])
def test_sixteen_bits_of_colour_are_scaled(tmp_path, name):
    deep = np.linspace(0, 65_535, 24 * 32 * 3).reshape(24, 32, 3).astype(np.uint16)
    cv2.imwrite(str(tmp_path / name), deep[:, :, ::-1])
    np.testing.assert_allclose(read_image(tmp_path / name), deep / 257, atol=1)


def test_a_black_image_of_eight_bits_may_be_black(tmp_path):
    assert read_image(save(tmp_path, Image.new("RGB", (20, 20)))).max() == 0


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


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("alpha", [0, 1])
def test_alpha_that_hides_all_is_none(tmp_path, picture, mode, alpha):
    image = Image.fromarray(picture).convert(mode)
    image.putalpha(alpha)
    expected = np.asarray(Image.fromarray(picture).convert(mode[:-1]).convert("RGB"))
    np.testing.assert_array_equal(read_image(save(tmp_path, image)), expected)


def test_alpha_that_hides_nothing_but_itself_is_white(tmp_path):
    assert (read_image(save(tmp_path, Image.new("RGBA", (20, 20), (9, 9, 9, 0)))) == 255).all()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_largest_page_of_a_tiff_is_read(tmp_path, picture, order):
    pages = [Image.fromarray(picture), Image.new("RGB", (16, 12), "red")]
    first, second = (pages[number] for number in order)
    path = save(tmp_path, first, "pages.tif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(path), picture)


def test_of_equal_pages_and_frames_the_first_is_read(tmp_path, picture):
    more = {"save_all": True, "append_images": [Image.new("RGB", (32, 24))]}
    path = save(tmp_path, Image.fromarray(picture), "pages.tif", **more)
    np.testing.assert_array_equal(read_image(path), picture)
    path = save(tmp_path, Image.new("RGB", (32, 24), "red"), "moving.gif", **more)
    assert (read_image(path) == (255, 0, 0)).all()


def test_a_damaged_second_page_does_not_cost_the_first(tmp_path, picture):
    path = save(tmp_path, Image.fromarray(picture), "one.tif")
    content = bytearray(path.read_bytes())
    start = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[start : start + 2], "little")
    following = start + 2 + 12 * entries  # where the next page would begin
    content[following : following + 4] = (len(content) + 999).to_bytes(4, "little")
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path), picture)


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


def photo(tmp_path, size, name="photo.jpg", **options):
    """Write a JPEG with patterns of every scale, noise included."""
    rng = np.random.default_rng(1)
    pixels = np.zeros((size[1], size[0], 3))
    for side in (2, 8, 32, 128):
        coarse = rng.uniform(0, 255, (size[1] // side + 1, size[0] // side + 1, 3))
        pixels += coarse.repeat(side, axis=0).repeat(side, axis=1)[: size[1], : size[0]] / 4
    return save(tmp_path, Image.fromarray(pixels.astype(np.uint8)), name, quality=90, **options)


def test_a_large_jpeg_is_shrunk_on_the_way_and_nobody_sees_it(tmp_path):
    path = photo(tmp_path, (1600, 1200))
    assert read_image(path, at_least=(120, 160)).shape == (600, 800, 3)
    exact = resize(read_image(path), (120, 160)).astype(int)
    assert np.abs(read_resized(path, (120, 160)) - exact).mean() < 1


def test_a_turned_jpeg_is_shrunk_as_well(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = photo(tmp_path, (1600, 1200), exif=exif)
    exact = resize(read_image(path), (160, 120)).astype(int)
    assert np.abs(read_resized(path, (160, 120)) - exact).mean() < 1


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_an_image_of_the_usual_size_is_read_to_the_last_bit(tmp_path, name):
    path = photo(tmp_path, (640, 480), name)
    np.testing.assert_array_equal(
        read_resized(path, (240, 320)), resize(read_image(path), (240, 320))
    )


def test_thumbnails(tmp_path, picture):
    path = save(tmp_path, Image.fromarray(picture))
    assert thumbnails([path, path], size=(12, 16)).shape == (2, 12, 16, 3)
    assert thumbnails([], size=(12, 16)).shape == (0, 12, 16, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "gif", "bmp", "ppm", "jp2", "tga"])
def test_what_was_sent_reads_as_the_file_does(tmp_path, picture, suffix):
    path = save(tmp_path, Image.fromarray(picture), f"cell.{suffix}")
    sent = SentImage("../../cell of somebody", path.read_bytes())
    np.testing.assert_array_equal(read_image(sent), read_image(path))
    np.testing.assert_array_equal(read_resized(sent, (8, 8)), read_resized(path, (8, 8)))


def test_what_was_sent_and_is_no_picture_is_named_as_it_was_sent(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "cell.eps")  # another program would have to draw it
    eps = (tmp_path / "cell.eps").read_bytes()
    for content, said in ((b"", "empty"), (b"text", "no known"), (eps, "no known")):
        with pytest.raises(ImageError, match=f"the.png is (in )?{said}"):
            read_image(SentImage("the.png", content))


def test_what_was_sent_may_have_fewer_pixels(tmp_path, picture):
    content = save(tmp_path, Image.fromarray(picture)).read_bytes()
    assert read_image(SentImage("a.png", content, 24 * 32)).shape == (24, 32, 3)
    with pytest.raises(ImageError, match=r"at most 0\.000767 megapixels .+ a\.png has 32x24"):
        read_image(SentImage("a.png", content, 24 * 32 - 1))
