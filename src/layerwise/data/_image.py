"""Any picture file becomes 8-bit RGB, upright, in one documented way.

The choices: transparency is laid on white; of an animation or a multi-page file the first frame is
taken; the EXIF orientation is applied; 16-bit greys are divided by 257, so that white stays white;
CMYK and other colour spaces are converted by Pillow without colour profiles. Only formats that
Pillow decodes itself are allowed, so that a picture never starts another program.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from layerwise.data._samples import Unreadable

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 100_000_000
"""Pictures with more pixels than this are set aside: decoding one takes 3 bytes a pixel or more."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".tga"}
)
"""Suffixes, in lower case, of the files that are taken for pictures."""

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "TGA", "DIB", "AVIF")


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture file to RGB.

    Args:
        data: the bytes of the file.
        max_pixels: width times height above which the picture is not decoded.

    Raises:
        Unreadable: with the reason in one line.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGBA", (2, 1), (255, 0, 0, 0)).save(file, "PNG")
        >>> decode(file.getvalue()).getpixel((0, 0))
        (255, 255, 255)
    """
    from PIL import Image

    if not data:
        raise Unreadable("the file is empty (0 bytes)")
    with _reasons():
        guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with Image.open(io.BytesIO(data), formats=_formats()) as picture:
                _check_size(picture, max_pixels)
                return as_rgb(picture)
        finally:
            Image.MAX_IMAGE_PIXELS = guard


def loaded_rgb(picture: Image.Image) -> Image.Image:
    """Bring a picture that somebody opened to RGB.

    Raises:
        Unreadable: with the reason in one line.
    """
    with _reasons():
        return as_rgb(picture)


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever Pillow's decoders raise, nearly every type there is, into reasons."""
    from PIL import UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("no picture format is recognised in it") from None
    except Exception as error:
        raise Unreadable(f"cannot be decoded: {_one_line(error)}") from None


def as_rgb(picture: Image.Image) -> Image.Image:
    """Bring an opened picture of any mode to upright 8-bit RGB.

    Raises:
        Unreadable: the numbers in the picture have no known scale.
    """
    from PIL import Image, ImageOps

    picture.load()
    if picture.getexif().get(0x0112, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture.copy()
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        return _eight_bit(picture).convert("RGB")
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), layered).convert(
            "RGB"
        )
    return picture.convert("RGB")


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Scale wide greys to 8 bit: 16-bit integers, or floats from 0 to 1 or 0 to 255."""
    import numpy as np
    from PIL import Image

    values = np.asarray(picture).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    floats = picture.mode == "F"
    if not (low >= 0 and high <= (255 if floats else 65535)):
        raise Unreadable(f"its values go from {low:g} to {high:g}, a range with no known scale")
    scale = (255.0 if high <= 1 else 1.0) if floats else 1 / 257
    return Image.fromarray(np.rint(values * scale).astype(np.uint8))


def _check_size(picture: Image.Image, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise Unreadable(
            f"{width} x {height} is {width * height / 1e6:.0f} megapixels, above the limit of "
            f"{max_pixels / 1e6:.0f} (max_pixels={max_pixels})"
        )


@functools.cache
def _formats() -> tuple[str, ...]:
    """Of the formats allowed, those that this build of Pillow has."""
    from PIL import Image

    Image.init()
    return tuple(form for form in _FORMATS if form in Image.OPEN)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
