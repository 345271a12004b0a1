"""Files as strangers send them: odd depths, ink that only colour shows, broken metadata."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps

from model.decode import decode
from model.errors import CropSizeError, ManyFrames, UnreadableCrop
from model.exif import exif_orientation
from model.jpeg_file import MAX_SEGMENTS, rebuild_jpeg, walk_jpeg
from model.png_file import MAX_CHUNKS, bare_png

START = b"\x89PNG\r\n\x1a\n"
INK = np.zeros((24, 20), dtype=bool)
INK[4:20, 8:12] = True


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width, height, depth, colour, interlaced=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def png_of(samples, colour, *extra):
    """A PNG of uint8 or big-endian uint16 samples, (H, W) or (H, W, C)."""
    samples = np.asarray(samples)
    depth = 8 * samples.dtype.itemsize
    rows = samples.reshape(len(samples), -1).astype(f">u{samples.dtype.itemsize}").view(np.uint8)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [START, header(samples.shape[1], len(samples), depth, colour), *extra]
    return b"".join([*parts, chunk(b"IDAT", packed), chunk(b"IEND")])


def encode(picture, file_format="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


PLAIN = png_of(np.where(INK, np.uint8(30), np.uint8(220)), 0)
PIXELS = decode(PLAIN)


def with_extra(*extra):
    return PLAIN[:33] + b"".join(extra) + PLAIN[33:]


def broken(kind, data=b"x"):
    return chunk(kind, data)[:-4] + b"\0\0\0\0"


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_few_bits_stored_in_16_span_black_to_white(bits, colour):
    most = (1 << bits) - 1
    grey = np.where(INK, most // 8, most).astype(np.uint16)
    num_colours = 3 if colour in (2, 6) else 1
    bands = [grey] * num_colours + [np.full_like(grey, most)] * (colour in (4, 6))
    crop = decode(png_of(np.stack(bands, axis=2), colour))
    assert_allclose(crop, np.where(INK, 255 / 8, 255), atol=1.5)


def test_a_dark_16_bit_picture_is_brightened_by_a_range_that_holds_it():
    wide = np.where(INK, 700, 900).astype(np.uint16)
    assert_array_equal(decode(png_of(wide, 0)), wide.astype(int) * 255 // 1023)


@pytest.mark.parametrize("scale", [256, 257])
def test_a_dark_picture_scaled_from_8_bits_stays_dark(scale):
    dark = np.where(INK, 2, 9).astype(np.uint16)
    assert_array_equal(decode(png_of(dark * np.uint16(scale), 0)), dark * scale // 257)


@pytest.mark.parametrize("ink", [(255, 255, 255), (250, 250, 240), (255, 255, 0), (230, 230, 230)])
@pytest.mark.parametrize("depth", [8, 16])
def test_light_ink_on_a_transparent_ground_is_read_by_its_transparency(ink, depth):
    dtype, scale = (np.uint8, 1) if depth == 8 else (np.uint16, 257)
    pixels = np.empty((*INK.shape, 4), dtype)
    pixels[..., :3] = np.array(ink) * scale
    pixels[..., 3] = np.where(INK, 255 * scale, 0)
    crop = decode(png_of(pixels, 6))
    assert crop[INK].max() < 40
    assert crop[~INK].min() > 215


def test_white_ink_in_a_palette_or_beside_a_transparent_level_is_read():
    indices = Image.fromarray(INK.astype(np.uint8), "P")
    indices.putpalette([255] * 6)
    grey = Image.fromarray(np.where(INK, 255, 250).astype(np.uint8))
    for data in (encode(indices, transparency=0), encode(grey, transparency=250)):
        crop = decode(data)
        assert crop[INK].max() < 40
        assert crop[~INK].min() > 215


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ((255, 0, 0), (0, 130, 0)),
        ((0, 0, 255), (97, 0, 0)),
        ((255, 255, 120), (255, 255, 255)),
        ((255, 255, 0), (226, 226, 226)),
        ((120, 70, 110), (70, 105, 60)),
    ],
)
def test_ink_as_bright_as_its_paper_is_read_by_its_colour(ink, paper, file_format):
    large = np.kron(INK, np.ones((4, 4), dtype=bool))
    pixels = np.where(large[..., np.newaxis], ink, paper).astype(np.uint8)
    noise = np.random.default_rng(1).integers(0, 4, pixels.shape, dtype=np.uint8)
    pixels -= np.minimum(pixels, noise)
    crop = decode(encode(Image.fromarray(pixels), file_format)).astype(int)
    assert abs(np.median(crop[large]) - np.median(crop[~large])) >= 40


def test_an_empty_sheet_with_colour_noise_stays_grey():
    noise = np.random.default_rng(0).normal(200, (5, 5, 10), (90, 90, 3))
    picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    assert_array_equal(decode(encode(picture)), np.asarray(picture.convert("L")))


@pytest.mark.parametrize("depth", [2, 4])
def test_a_transparent_level_of_few_bits_shows_paper(depth):
    values = np.arange(8) % 2**depth
    bits = "".join(f"{value:0{depth}b}" for value in values)
    rows = (b"\0" + int(bits, 2).to_bytes(depth, "big")) * 4
    level = 2**depth - 2  # not the white one
    parts = (header(8, 4, depth, 0), chunk(b"tRNS", struct.pack(">H", level)))
    data = b"".join((START, *parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND")))
    expected = np.where(values == level, 255, values * 255 // (2**depth - 1))
    assert_array_equal(decode(data), np.tile(expected, (4, 1)))


def test_a_transparent_16_bit_colour_shows_paper():
    wide = np.full((8, 8, 3), 140 * 257, dtype=np.uint16)
    wide[:4] += np.uint16(1)  # the same upper byte, so only the lower one tells
    crop = decode(png_of(wide, 2, chunk(b"tRNS", struct.pack(">HHH", *[140 * 257] * 3))))
    assert_array_equal(crop, np.repeat([140, 255], 4)[:, np.newaxis] * np.ones((1, 8), int))


def test_cmyk_is_read_dark_on_light():
    picture = Image.fromarray(np.kron(INK, np.ones((4, 4), dtype=np.uint8)) * 255)
    data = encode(ImageOps.invert(picture).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    crop = decode(data)
    assert crop[0, 0] > 240
    assert crop[40, 40] < 15


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        broken(b"eXIf"),
        broken(b"tEXt"),
        broken(b"gAMA"),
        broken(b"acTL", bytes(8)),
        chunk(b"acTL", b"\0\0\0\2"),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(9_000_000))),
        chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(9_000_000))) * 50,
        chunk(b"iTXt", b"\xff" * 70_000),
        chunk(b"tEXt") * (MAX_CHUNKS - 3),
        chunk(b"IDAT") * 900,
        chunk(b"tRNS", b"12345"),
        struct.pack(">I", 2**31) + b"tEXtwith a damaged length",
    ],
)
def test_metadata_does_not_decide_over_whole_pixels(extra):
    assert_array_equal(decode(with_extra(extra)), PIXELS)


@pytest.mark.parametrize("behind", [b"\0" * 100_000, PLAIN, chunk(b"IDAT", b"junk"), b"<html>"])
def test_what_follows_the_end_of_a_png_is_ignored(behind):
    assert_array_equal(decode(PLAIN + behind), PIXELS)


def test_pixels_in_many_chunks_are_read():
    at = PLAIN.index(b"IDAT") - 4
    size = int.from_bytes(PLAIN[at : at + 4])
    packed = PLAIN[at + 8 : at + 8 + size]
    parts = [chunk(b"IDAT", bytes([one])) for one in packed]
    between = chunk(b"tEXt", b"a\0b")
    assert_array_equal(decode(PLAIN[:at] + between.join(parts) + chunk(b"IEND")), PIXELS)


def test_a_flood_of_chunks_is_refused():
    with pytest.raises(UnreadableCrop, match=f"more than {MAX_CHUNKS} chunks"):
        decode(with_extra(chunk(b"tEXt") * MAX_CHUNKS))


def test_a_bomb_of_pixels_is_not_unpacked_further_than_the_header_says():
    rows = zlib.compress(bytes(50_000_000), 9)
    data = b"".join((START, header(8, 8, 8, 0), chunk(b"IDAT", rows), chunk(b"IEND")))
    with pytest.raises(CropSizeError, match="packs 72 bytes of pixels in"):
        decode(data)


def test_16_bits_and_four_channels_of_4_megapixels_are_refused_with_the_limit():
    data = b"".join((START, header(2000, 2000, 16, 6), chunk(b"IDAT", b"x"), chunk(b"IEND")))
    with pytest.raises(CropSizeError, match="32002000 bytes; at most 17000000"):
        decode(data)


JPEG = encode(Image.fromarray(PIXELS), "JPEG", quality=95)
JPEG_PIXELS = decode(JPEG)


def segment(marker, data=b""):
    return bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2) + data


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        segment(0xE1, b"Exif\0\0") * 500,
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta hdrgm:Version='1.0'>"),
        segment(0xE2, b"MPF\0junk"),
        segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(60_000)) * 20,
        segment(0xFE, b"a comment with \xff\xd9 and \xff\xda in it"),
        segment(0xE0, b"JFIF\0" + bytes(60_000)) * 2,
        segment(0xEC) * (MAX_SEGMENTS - 20),
        b"\xff" * 500,
    ],
)
@pytest.mark.parametrize("progressive", [False, True])
def test_segments_that_decide_nothing_are_left_out(extra, progressive):
    whole = encode(Image.fromarray(PIXELS), "JPEG", quality=95, progressive=progressive)
    assert_array_equal(decode(whole[:2] + extra + whole[2:]), decode(whole))


@pytest.mark.parametrize("behind", [b"\0" * 100_000, JPEG, b"\xff\xd8\xff\xe0", b"\xff" * 70_000])
def test_what_follows_the_end_of_a_jpeg_is_ignored(behind):
    assert_array_equal(decode(JPEG + behind), JPEG_PIXELS)


def test_a_flood_of_segments_is_refused():
    with pytest.raises(UnreadableCrop, match=f"more than {MAX_SEGMENTS} segments"):
        decode(JPEG[:2] + segment(0xE1) * MAX_SEGMENTS + JPEG[2:])


@pytest.mark.parametrize(
    ("marker", "says"), [(0xC3, "lossless"), (0xC9, "arithmetic-coded"), (0xC5, "hierarchical")]
)
def test_a_coding_that_is_not_read_is_named(marker, says):
    at = JPEG.index(b"\xff\xc0")
    with pytest.raises(UnreadableCrop, match=f"the JPEG is {says}; save it as baseline"):
        decode(JPEG[: at + 1] + bytes([marker]) + JPEG[at + 2 :])


def test_12_bits_a_sample_are_refused_by_name():
    at = JPEG.index(b"\xff\xc0") + 4
    with pytest.raises(UnreadableCrop, match="12 bits a sample; save it with 8"):
        decode(JPEG[:at] + b"\x0c" + JPEG[at + 1 :])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_rebuilt_jpeg_decodes_as_the_file_does_with_another_reader(mode, options):
    ramp = np.add.outer(np.arange(70), np.arange(50)).astype(np.uint8)
    data = encode(Image.fromarray(ramp).convert(mode), "JPEG", icc_profile=bytes(900), **options)
    bare = rebuild_jpeg(data, walk_jpeg(data))
    assert len(bare) < len(data) - 900
    with Image.open(io.BytesIO(data)) as whole, Image.open(io.BytesIO(bare)) as rebuilt:
        assert_array_equal(np.asarray(rebuilt), np.asarray(whole))


@pytest.mark.parametrize("orientation", range(10))
def test_the_orientation_is_what_another_reader_finds(orientation):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x8298] = "maker", orientation, "rights"
    expected = orientation if 1 <= orientation <= 8 else 1
    for block in (exif.tobytes(), exif.tobytes().removeprefix(b"Exif\0\0")):
        assert exif_orientation(block) == expected
        assert all(exif_orientation(block[:end]) in (1, expected) for end in range(len(block)))


def test_a_static_file_with_two_frames_is_refused():
    with pytest.raises(ManyFrames, match="2 frames"):
        decode(with_extra(chunk(b"acTL", struct.pack(">II", 2, 0))))


def test_the_file_that_capture_keeps_decodes_to_the_same_crop():
    data = with_extra(chunk(b"gAMA", bytes(4)), chunk(b"tEXt", b"Author\0me"))
    assert bare_png(data) == PLAIN
    assert_array_equal(decode(bare_png(data)), PIXELS)


def test_apple_s_own_png_is_refused_by_its_name():
    png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x04CgBI\x50\x00\x20\x02\x2b\xd5\xb3\x7f" + bytes(60)
    with pytest.raises(UnreadableCrop, match="CgBI"):
        decode(png)
