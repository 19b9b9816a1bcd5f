"""Pictures of every kind become upright 8-bit RGB, or say why not."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from layerwise.data import Unreadable
from layerwise.data._image import as_rgb, decode


def encoded(picture, form="PNG", **options):
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def outcome(data):
    """The mode of the picture, or the reason why there is none."""
    try:
        return decode(data, max_pixels=10**6).mode
    except Unreadable as reason:
        return str(reason)


def gradient(mode="RGB"):
    ramp = np.linspace(0, 255, 40 * 30).reshape(30, 40).astype(np.uint8)
    return Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], -1)).convert(mode)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA"])
def test_every_common_format_keeps_its_size_and_rough_colours(form):
    picture = decode(encoded(gradient(), form))
    assert picture.mode == "RGB"
    assert picture.size == (40, 30)
    difference = np.abs(np.asarray(picture, float) - np.asarray(gradient(), float))
    assert difference.mean() < 12


def test_lossless_rgb_is_untouched():
    assert np.array_equal(np.asarray(decode(encoded(gradient()))), np.asarray(gradient()))


def test_grey_and_palette_equal_pillows_own_conversion():
    for mode in ("L", "1", "P"):
        picture = gradient(mode)
        assert np.array_equal(
            np.asarray(decode(encoded(picture))), np.asarray(picture.convert("RGB"))
        )


def test_cmyk_jpeg_comes_back_with_its_colours():
    picture = Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK")
    middle = decode(encoded(picture, "JPEG", quality=95)).getpixel((8, 8))
    assert np.allclose(middle, (200, 40, 90), atol=6)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    wide = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    data = encoded(Image.fromarray(wide))
    assert np.asarray(decode(data))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_rgb_is_scaled_and_not_clipped():
    rows = b"\0" + struct.pack(">6H", 65535, 0, 32896, 300, 60000, 128)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    got = np.asarray(decode(png), float).reshape(2, 3)
    exact = np.array([[65535, 0, 32896], [300, 60000, 128]]) / 257
    assert np.abs(got - exact).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [([[0.0, 0.5, 1.0]], [0, 128, 255]), ([[0.0, 100.0, 255.0]], [0, 100, 255])],
)
def test_float_pictures_have_two_known_scales(values, expected):
    data = encoded(Image.fromarray(np.array(values, dtype=np.float32)), "TIFF")
    assert np.asarray(decode(data))[0, :, 0].tolist() == expected


def test_a_float_picture_without_a_known_scale_says_its_range():
    data = encoded(Image.fromarray(np.array([[-3.0, 900.0]], dtype=np.float32)), "TIFF")
    with pytest.raises(Unreadable, match="from -3 to 900"):
        decode(data)


def test_transparency_is_laid_on_white():
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert np.allclose(decode(encoded(half)).getpixel((0, 0)), 127, atol=1)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0] * 256)
    assert decode(encoded(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)
    grey = Image.new("LA", (4, 4), (0, 0))
    assert decode(encoded(grey)).getpixel((0, 0)) == (255, 255, 255)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((4, 4)) == (255, 0, 0)


def test_exif_orientation_is_applied():
    picture = Image.new("RGB", (30, 10), "black")
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    upright = decode(encoded(picture, "PNG", exif=exif))
    assert upright.size == (10, 30)
    assert upright.getpixel((9, 0)) == (255, 255, 255)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files_give_a_reason_in_one_line(form, share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = encoded(noise, form)
    with pytest.raises(Unreadable) as caught:
        decode(data[: int(len(data) * share)])
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "PPM", "TGA", "BMP"])
def test_damaged_files_raise_nothing_but_unreadable(form):
    data = bytearray(encoded(gradient(), form))
    generator = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(data)
        for place in generator.integers(0, len(data), 8):
            damaged[place] = generator.integers(256)
        assert outcome(bytes(damaged)) == "RGB" or "\n" not in outcome(bytes(damaged))


def test_no_picture_and_empty_are_told_apart():
    with pytest.raises(Unreadable, match="empty"):
        decode(b"")
    with pytest.raises(Unreadable, match="no picture format"):
        decode(b"<html>not found</html>")


def test_programs_are_never_started_for_a_picture():
    with pytest.raises(Unreadable, match="no picture format"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


def test_a_huge_picture_is_refused_by_its_header_with_the_numbers():
    def bomb(width, height):
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunk = (
            struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
        )
        return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + b"\x35\xaf\x06\x1e"

    with pytest.raises(Unreadable, match="30000 x 20000 is 600 megapixels, above the limit of 100"):
        decode(bomb(30000, 20000))


def test_the_limit_moves_and_pillows_own_setting_stays():
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(Unreadable, match="above the limit"):
        decode(encoded(gradient()), max_pixels=1199)
    assert decode(encoded(gradient()), max_pixels=1200).size == (40, 30)
    assert before == Image.MAX_IMAGE_PIXELS


def test_an_opened_picture_is_left_as_it_was():
    picture = Image.new("L", (4, 4), 7)
    assert as_rgb(picture).getpixel((0, 0)) == (7, 7, 7)
    assert picture.mode == "L"
