"""Image files in, RGB arrays out: one decoder for training, prediction and figures."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hv_utils.ground.errors import HematoVisionError

PHOTO_SIZE, COPY_SIZE = (480, 640), (240, 320)  # height and width in the data set, pixels
MIN_SIDE = 16
MAX_SIDE = 10_000
# Sixteen-bit greyscale: Pillow keeps it as it is, where `convert("RGB")` would clip it to white.
DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
SHALLOW_BITS = 14  # cameras of 10, 12 or 14 bits put their numbers into 16 as they are
DRAFT_MARGIN = 2  # to shrink from there differs by less than a grey level from all pixels
EMPTY_ALPHA = 1  # of 255: what an unused channel holds
PREVIEW_PAGES = 16  # pages of a TIFF among which the largest is looked for
# Of what strangers send: the formats of `listing.IMAGE_SUFFIXES`. Pillow knows others that nobody's
# microscope writes; one of them, EPS, starts another program and writes to the disk.
SENT_FORMATS = (
    *("JPEG", "JPEG2000", "PNG", "GIF", "WEBP", "AVIF"),  # MPO is opened as JPEG
    *("BMP", "DIB", "TGA", "TIFF", "PPM"),
)
# Above the limits here Pillow raises; below, its own warning would say what we have checked.
Image.MAX_IMAGE_PIXELS = MAX_SIDE**2


class ImageError(HematoVisionError):
    """A file that cannot be read as an image; the message is one line."""


@dataclass(frozen=True)
class SentImage:
    """An image file that was sent and lies in memory alone.

    Attributes
    ----------
    name : str
        What its sender calls it: for messages and tables; nothing is opened by it.
    content : bytes
        The file.
    most_pixels : int, optional
        What it may unpack to.
    """

    name: str
    content: bytes = field(repr=False)
    most_pixels: int | None = None

    def __str__(self) -> str:
        return self.name


def read_image(
    path: str | Path | SentImage, *, at_least: tuple[int, int] | None = None
) -> np.ndarray:
    """Read one image file as 8-bit RGB.

    Any mode that Pillow knows is accepted: greyscale and 16-bit images get three equal channels,
    transparency is laid over white (the background of a smear), CMYK and palettes are converted,
    and a camera's EXIF orientation is applied. Transparency that hides the whole picture is none,
    and the colours under it count. Of several frames the first is taken, of the pages of a TIFF
    the largest, as the first may be a preview.

    Parameters
    ----------
    path : str, Path or SentImage
        An image file, with sides from 16 to 10,000 pixels. The size is read from the header before
        any pixel is decoded, so that a small file cannot unpack into gigabytes.
    at_least : tuple of int, optional
        (height, width) that are wanted in the end. A JPEG of more than four times these sides is
        then decoded to a half, a quarter or an eighth of its own, in a fraction of the time, and
        is still twice as large as wanted.

    Returns
    -------
    numpy.ndarray
        Shape (height, width, 3), dtype uint8, range 0 to 255.

    Raises
    ------
    ImageError
        Where the file is missing, empty, truncated, no image, or of a size outside the limits.
    """
    path = path if isinstance(path, SentImage) else Path(path)
    source, formats = _source(path)
    try:
        with Image.open(source, formats=formats) as image:
            if image.format == "TIFF":
                _seek_largest(image)
            _check_size(path, image.size)
            if at_least is not None:
                side = DRAFT_MARGIN * max(at_least)  # either way round: the camera may lie
                image.draft(None, (side, side))
            return _to_rgb(image, path)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"expected an image, but the content of {path} is in no known image format: "
            "it is probably another kind of file with an image's name; export it as JPEG or PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"expected sides of at most {MAX_SIDE} pixels, but {path} claims more: "
            "crop the field to the cell"
        ) from error
    except Exception as error:  # a broken file can raise nearly anything in Pillow's decoders
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ImageError(
            f"expected a whole image, but {path} breaks off or is damaged ({reason}): "
            "copy or export it again"
        ) from error


def _source(path: Path | SentImage) -> tuple[Path | io.BytesIO, tuple[str, ...] | None]:
    """Return what Pillow is to open, and the formats to try: None for all that it knows."""
    if not isinstance(path, SentImage):
        _refuse_non_files(path)
        return path, None
    if not path.content:
        raise ImageError(f"expected an image, but {path} is empty: copy or export it again")
    return io.BytesIO(path.content), SENT_FORMATS


def _refuse_non_files(path: Path) -> None:
    try:
        if path.is_dir():
            raise ImageError(f"expected an image file, but {path} is a folder: name a file in it")
        if not path.is_file():
            raise ImageError(f"expected an image file, but nothing is at {path}: check the path")
        if path.stat().st_size == 0:
            raise ImageError(f"expected an image, but {path} is empty: copy or export it again")
        with path.open("rb"):
            pass
    except OSError as error:
        raise ImageError(
            f"expected an image file, but {path} cannot be opened ({error.strerror or error}): "
            "check the path and its permissions"
        ) from error


def _check_size(path: Path | SentImage, size: tuple[int, int]) -> None:
    width, height = size
    most = getattr(path, "most_pixels", None)
    if min(size) < MIN_SIDE:
        raise ImageError(
            f"expected sides of at least {MIN_SIDE} pixels, but {path} has {width}x{height}: "
            "it is probably a thumbnail or an icon; use the original"
        )
    if max(size) > MAX_SIDE:
        raise ImageError(
            f"expected sides of at most {MAX_SIDE} pixels, but {path} has {width}x{height}: "
            "it is probably a whole slide; crop the field to the cell"
        )
    if most is not None and width * height > most:
        raise ImageError(
            f"expected at most {most / 1e6:g} megapixels here, but {path} has {width}x{height}: "
            "crop the field, or raise the limit of the service"
        )


def _seek_largest(image: Image.Image) -> None:
    """Go to the page with the most pixels, the first of equals; only headers are read."""
    pages = {0: image.width * image.height}
    for number in range(1, PREVIEW_PAGES):
        try:
            image.seek(number)
        except Exception:  # no further page, or a damaged one, which need not cost the first
            break
        pages[number] = image.width * image.height
    image.seek(max(pages, key=pages.get))


def _to_rgb(image: Image.Image, path: Path | SentImage) -> np.ndarray:
    deep = _is_deep(image)
    image = ImageOps.exif_transpose(image)
    if image.mode in DEEP_MODES:
        grey = np.clip(np.asarray(image, dtype=np.int64), 0, 65_535)
        _refuse_shallow(int(grey.max()), path)
        grey = np.round(grey / 257).astype(np.uint8)  # 65,535 / 257 = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ImageError(
            f"expected 8 or 16 bits a channel, but {path} holds floating-point numbers: "
            "export it as an 8-bit PNG"
        )
    rgb = image.convert("RGB")
    if deep:  # Pillow has taken the upper 8 of the 16 bits
        _refuse_shallow(256 * max(high for _, high in rgb.getextrema()), path)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        *colours, (_, opacity) = rgba.getextrema()
        if opacity > EMPTY_ALPHA or all(low == high for low, high in colours):
            white = Image.new("RGBA", rgba.size, "white")
            rgb = Image.alpha_composite(white, rgba).convert("RGB")
    return np.array(rgb)


def _is_deep(image: Image.Image) -> bool:
    """Tell whether the file holds 16 bits a channel, of which Pillow will keep the upper 8."""
    codec, *_, how = image.tile[0] if image.tile else ("", ())
    return ";16" in str(how) or (codec == "ppm" and how[-1] > 255)


def _refuse_shallow(largest: int, path: Path | SentImage) -> None:
    bits = largest.bit_length()
    if bits <= SHALLOW_BITS:
        raise ImageError(
            f"expected 16-bit values up to 65,535, but {path} uses {bits} of the 16 bits "
            "and would look dark: spread them over the whole range, or export 8 bits"
        )


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image, without keeping its proportions.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (height, width, 3), dtype uint8.
    size : tuple of int
        New (height, width).

    Returns
    -------
    numpy.ndarray
        Shape (*size, 3), dtype uint8. Bilinear; where the image shrinks, every old pixel counts
        (Pillow widens the filter), so fine granules do not alias.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)


def read_resized(path: str | Path | SentImage, size: tuple[int, int]) -> np.ndarray:
    """Read one image file and resize it, see `read_image` and `resize`; large JPEGs fast."""
    return resize(read_image(path, at_least=size), size)


def thumbnails(paths: Iterable[str | Path], *, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Read images and shrink them for a figure.

    Parameters
    ----------
    paths : iterable of str or Path
    size : tuple of int
        (height, width) of each.

    Returns
    -------
    numpy.ndarray
        Shape (N, *size, 3), dtype uint8.
    """
    small = [read_resized(path, size) for path in paths]
    return np.stack(small) if small else np.zeros((0, *size, 3), np.uint8)
