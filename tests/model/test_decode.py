import io
import struct
import zlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from model.decode import MAX_AREA_PX, MAX_SIDE_PX, MIN_SIDE_PX, decode
from model.errors import CropError, CropSizeError, ManyFrames, UnreadableCrop, UnsupportedFormat
from model.jpeg_file import MAX_SCANS

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5  # 0 to 235, every value another


def encode(picture: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def png(
    width: int, height: int, *, depth: int, colour: int, rows: bytes, extra: bytes = b""
) -> bytes:
    """A PNG file put together chunk by chunk, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_grey_comes_back_as_it_was_sent():
    assert_array_equal(decode(encode(Image.fromarray(GREY))), GREY)


def test_the_crop_is_uint8_of_two_dimensions():
    crop = decode(encode(Image.fromarray(GREY)))
    assert crop.dtype == np.uint8
    assert crop.shape == (6, 8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_that_is_grey_comes_back_as_grey(mode):
    picture = Image.fromarray(GREY).convert(mode)
    assert_array_equal(decode(encode(picture)), GREY)


def test_colour_becomes_its_luminance():
    picture = Image.new("RGB", (8, 6), (255, 0, 0))
    assert_array_equal(decode(encode(picture)), np.full((6, 8), 76))  # ITU-R 601: 0.299 red


def test_black_and_white_becomes_0_and_255():
    bits = GREY > 100
    assert_array_equal(decode(encode(Image.fromarray(bits))), np.where(bits, 255, 0))


@pytest.mark.parametrize(("depth", "step"), [(1, 255), (2, 85), (4, 17)])
def test_few_bits_of_grey_span_black_to_white(depth, step):
    values = np.arange(8) % 2**depth
    bits = "".join(f"{value:0{depth}b}" for value in values)
    row = b"\0" + int(bits, 2).to_bytes(depth, "big")
    crop = decode(png(8, 4, depth=depth, colour=0, rows=row * 4))
    assert_array_equal(crop, np.tile(values * step, (4, 1)))


def test_16_bit_grey_is_scaled_and_not_clipped():
    wide = GREY.astype(np.uint16) * 257
    assert_array_equal(decode(encode(Image.fromarray(wide))), GREY)


def test_16_bit_white_is_white():
    wide = np.full((6, 8), 65535, dtype=np.uint16)
    assert_array_equal(decode(encode(Image.fromarray(wide))), np.full((6, 8), 255))


def test_16_bit_colour_is_scaled_and_not_clipped():
    row = b"\0" + b"".join(struct.pack(">HHH", *[int(value) * 257] * 3) for value in GREY[0])
    crop = decode(png(8, 4, depth=16, colour=2, rows=row * 4))
    assert_array_equal(crop, np.tile(GREY[0], (4, 1)))


def test_a_palette_is_looked_up():
    picture = Image.fromarray(GREY // 5).convert("P")
    picture.putpalette([255 - value // 3 for value in range(768)])
    assert_array_equal(decode(encode(picture)), 255 - GREY // 5)


def test_a_transparent_palette_entry_shows_paper():
    indices = Image.fromarray(np.array([[0, 1, 0, 1]] * 4, dtype=np.uint8), "P")
    indices.putpalette([0, 0, 0, 40, 40, 40])
    crop = decode(encode(indices, transparency=0))
    assert_array_equal(crop, np.array([[255, 40, 255, 40]] * 4))


def test_a_half_transparent_palette_entry_is_mixed_with_paper():
    indices = Image.fromarray(np.zeros((4, 4), dtype=np.uint8), "P")
    indices.putpalette([0, 0, 0])
    crop = decode(encode(indices, transparency=bytes([51])))  # a fifth black, four fifths paper
    assert_array_equal(crop, np.full((4, 4), 204))


def test_a_transparent_grey_level_shows_paper():
    pixels = np.array([[0, 9, 0, 9]] * 4, dtype=np.uint8)
    crop = decode(encode(Image.fromarray(pixels), transparency=0))
    assert_array_equal(crop, np.array([[255, 9, 255, 9]] * 4))


def test_a_transparent_16_bit_grey_level_shows_paper():
    row = b"\0" + struct.pack(">HHHH", 0, 257 * 9, 0, 257 * 9)
    transparent = chunk(b"tRNS", struct.pack(">H", 0))
    crop = decode(png(4, 4, depth=16, colour=0, rows=row * 4, extra=transparent))
    assert_array_equal(crop, np.array([[255, 9, 255, 9]] * 4))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_transparent_pixel_shows_paper(mode):
    picture = Image.new(mode, (8, 6), (0,) * len(mode))
    assert_array_equal(decode(encode(picture)), np.full((6, 8), 255))


def test_half_transparent_ink_is_mixed_with_paper():
    picture = Image.new("LA", (8, 6), (0, 51))
    assert_array_equal(decode(encode(picture)), np.full((6, 8), 204))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_read_nearly_as_sent(mode):
    smooth = np.tile(np.linspace(40, 220, 16, dtype=np.uint8), (16, 1))
    crop = decode(encode(Image.fromarray(smooth).convert(mode), "JPEG", quality=98))
    assert np.abs(crop.astype(int) - smooth).max() <= 6


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.T),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: stored[::-1, ::-1].T),
        (8, np.rot90),
    ],
)
def test_a_crop_is_turned_upright(file_format, orientation, upright):
    stored = np.kron(np.array([[10, 90, 170], [250, 50, 130]]), np.ones((8, 8))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if file_format == "JPEG" else {}
    crop = decode(encode(Image.fromarray(stored), file_format, exif=exif, **options))
    np.testing.assert_allclose(crop, upright(stored), atol=2)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_file_cut_anywhere_is_unreadable_or_whole(file_format, crops):
    picture = Image.fromarray(crops[0].pixels)
    whole = encode(picture, file_format)
    pixels = decode(whole)
    for length in range(len(whole)):
        try:
            crop = decode(whole[:length])
        except (UnreadableCrop, UnsupportedFormat):
            continue
        assert_array_equal(crop, pixels, err_msg=f"cut after {length} bytes")


def test_a_damaged_byte_never_raises_anything_but_a_crop_error(crops):
    whole = crops[0].png
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        try:
            decode(bytes(damaged))
        except CropError:
            continue


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (MIN_SIDE_PX, MIN_SIDE_PX),
        (MAX_SIDE_PX, MIN_SIDE_PX),
        (MIN_SIDE_PX, MAX_SIDE_PX),
        (1000, MAX_AREA_PX // 1000),
    ],
)
def test_a_crop_at_the_limit_is_read(width, height):
    assert decode(encode(Image.new("L", (width, height)))).shape == (height, width)


@pytest.mark.parametrize(
    ("width", "height", "limit"),
    [
        (MIN_SIDE_PX - 1, 50, MIN_SIDE_PX),
        (50, MIN_SIDE_PX - 1, MIN_SIDE_PX),
        (MAX_SIDE_PX + 1, 50, MAX_SIDE_PX),
        (50, MAX_SIDE_PX + 1, MAX_SIDE_PX),
        (1000, MAX_AREA_PX // 1000 + 1, MAX_AREA_PX),
    ],
)
def test_a_crop_beyond_the_limit_is_refused_with_size_and_limit(width, height, limit):
    with pytest.raises(CropSizeError, match=rf"{width}x{height} px.*{limit}"):
        decode(encode(Image.new("L", (width, height))))


@pytest.mark.parametrize("side", [4097, 20_000, 2**31 - 1])
def test_a_bomb_is_refused_before_it_is_unpacked(side, monkeypatch):
    def unpack(self):
        raise AssertionError("the pixels were unpacked")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", unpack)
    bomb = png(side, side, depth=8, colour=0, rows=b"\0" * 100)
    with pytest.raises(CropSizeError):
        decode(bomb)


def test_a_text_chunk_bomb_is_not_unpacked():
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 80_000_000, 9))
    rows = (b"\0" + b"\x80" * 8) * 8
    crop = decode(png(8, 8, depth=8, colour=0, rows=rows, extra=text))
    assert_array_equal(crop, np.full((8, 8), 128))


def test_too_little_pixel_data_is_unreadable():
    with pytest.raises(UnreadableCrop, match="send the whole file"):
        decode(png(40, 40, depth=8, colour=0, rows=b"\0" * 100))


def test_an_error_text_has_no_memory_address():
    with pytest.raises(UnreadableCrop) as caught:
        decode(b"\xff\xd8\xff")
    assert "0x" not in str(caught.value)


def test_an_animated_png_is_refused():
    frames = [Image.new("L", (8, 8), value) for value in (0, 100, 200)]
    data = encode(frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(ManyFrames, match="3 frames"):
        decode(data)


@pytest.mark.parametrize("xmp", [b"", b'<rdf:Description hdrgm:Version="1.0"/>'])
def test_the_first_picture_of_a_multi_picture_jpeg_is_read(xmp):
    """Phones write both kinds: a gain map or a preview follows the photo."""
    pictures = [Image.new("RGB", (16, 16), (value, 0, 0)) for value in (0, 200)]
    data = encode(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    name = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    data = data[:2] + b"\xff\xe1" + (len(name) + 2).to_bytes(2) + name + data[2:]
    assert_array_equal(decode(data), np.zeros((16, 16)))


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"])
def test_another_picture_format_is_unsupported(file_format):
    with pytest.raises(UnsupportedFormat, match="send a PNG or a JPEG"):
        decode(encode(Image.new("RGB", (16, 16)), file_format))


@pytest.mark.parametrize("data", [b"", b"\x89", b"hello", b"\0" * 100, b"%PDF-1.7", b"<svg/>"])
def test_bytes_that_are_not_a_picture_are_unsupported(data):
    with pytest.raises(UnsupportedFormat):
        decode(data)


@pytest.mark.parametrize("magic", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_a_file_with_only_the_first_bytes_of_a_format_is_refused(magic):
    tiff = encode(Image.new("L", (16, 16)), "TIFF")
    with pytest.raises(UnreadableCrop):
        decode(magic + tiff)


def test_all_200_crops_decode_to_their_pixels(crops):
    for crop in crops:
        assert_array_equal(decode(crop.png), crop.pixels)


def with_scans(num_scans):
    """A progressive JPEG whose last scan, a dozen bytes, is repeated: 1 ms to decode each time."""
    data = encode(Image.new("L", (1000, 1000), 200), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (num_scans - data.count(b"\xff\xda")) + data[-2:]


def test_a_progressive_jpeg_is_read():
    assert decode(with_scans(MAX_SCANS)).shape == (1000, 1000)


def test_a_jpeg_of_more_scans_than_any_encoder_writes_is_refused():
    with pytest.raises(UnreadableCrop, match=f"more than {MAX_SCANS} scans"):
        decode(with_scans(MAX_SCANS + 1))


def test_a_file_of_more_than_2_mb_is_refused_before_it_is_looked_at():
    flood = encode(Image.new("L", (8, 8))) + bytes(2_097_152)
    with pytest.raises(CropSizeError, match="at most 2097152 are read"):
        decode(flood)
