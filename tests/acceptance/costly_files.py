"""Files that are small, legal or nearly so, and costly to decode: bodies of the fairness checks.

Pure: each function builds bytes and knows nothing about the service.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image

from loadtest.clients.http1 import Request, multipart

MEGAPIXEL_PX: Final = (1000, 1000)  # width, height
BULK_BYTES: Final = 8_000_000
SINGLE_BYTES: Final = 250_000
PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"


def bulk(files: Sequence[bytes], key: str, media_type: str = "image/png") -> bytes:
    """The wire of a form with these files."""
    headers = {"X-Api-Key": key}
    return multipart("/v1/digits", "crop", list(files), headers, media_type=media_type).wire("a")


def packed(npy: bytes, key: str) -> bytes:
    """The wire of an array of crops."""
    return Request("/v1/digits", "application/x-npy", npy, {"X-Api-Key": key}).wire("a")


def single(file: bytes, key: str, media_type: str = "image/png") -> bytes:
    """The wire of a request with one file."""
    return Request("/v1/digit", media_type, file, {"X-Api-Key": key}).wire("a")


def jpeg_with_segments(segment: bytes, num_bytes: int, picture: Image.Image) -> bytes:
    """A JPEG whose header repeats a segment until the file has about `num_bytes`."""
    plain = _encoded(picture, "JPEG")
    repeats = (num_bytes - len(plain)) // len(segment)
    return plain[:2] + segment * repeats + plain[2:]


def segment(marker: int, payload: bytes) -> bytes:
    """One marker segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def exif(num_entries: int = 1) -> bytes:
    """A payload of an Exif APP1 segment with an orientation, repeated."""
    entry = struct.pack("<HHII", 0x0112, 3, 1, 1)
    return (
        b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", num_entries) + entry * num_entries + bytes(4)
    )


def progressive_jpeg(num_scans: int, *, side_px: int = 1000) -> bytes:
    """A progressive JPEG with many passes over all its blocks; each pass takes some 20 bytes.

    Source:
        ITU-T T.81, G.1.2.2: a run of up to 32,767 blocks without coefficients is one code, EOB14.
    """
    plain = _encoded(Image.new("L", (side_px, side_px), 200), "JPEG", progressive=True)
    num_blocks = (-(-side_px // 8)) ** 2
    table = segment(0xC4, b"\x10" + bytes([1, *bytes(15)]) + b"\xe0")  # AC 0: EOB14 is the code 0
    bits = ("0" + "1" * 14) * -(-num_blocks // 32_767)
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scan = segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + data
    return plain[:-2] + table + scan * num_scans + b"\xff\xd9"


def chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with_chunks(chunks: bytes, png: bytes) -> bytes:
    """A PNG with more chunks after its header."""
    return png[:33] + chunks + png[33:]


def unpacking_chunks(num: int, num_bytes: int = 1_000_000) -> dict[str, bytes]:
    """Ancillary chunks that each unpack `num_bytes`, by kind."""
    packed = zlib.compress(bytes(num_bytes), 9)
    return {
        "zTXt": chunk(b"zTXt", b"k\0\0" + packed) * num,
        "iTXt": chunk(b"iTXt", b"k\0\1\0\0\0" + packed) * num,
        "iCCP": chunk(b"iCCP", b"k\0\0" + packed) * num,
    }


def many_small_chunks(num_bytes: int) -> dict[str, bytes]:
    """Chunks without effect, as many as fit, by kind."""
    kinds = {
        "tEXt": chunk(b"tEXt", b"k\0v"),
        "private": chunk(b"prVt", b""),
        "tIME": chunk(b"tIME", bytes(7)),
        "eXIf": chunk(b"eXIf", exif()[6:]),
        "sPLT": chunk(b"sPLT", b"k\0\x08"),
    }
    return {name: one * (num_bytes // len(one)) for name, one in kinds.items()}


def png_of_small_idats(num: int) -> bytes:
    """A PNG with `num` empty IDAT chunks in front of its data."""
    plain = flat_png("L")
    return plain[:33] + chunk(b"IDAT", b"") * num + plain[33:]


def flat_png(mode: str, size: tuple[int, int] = (40, 52)) -> bytes:
    """A PNG of one colour, which compresses a thousandfold."""
    return _encoded(Image.new(mode, size, 255 if mode in ("L", "P") else None), "PNG")


def wide_png(
    colour: int, depth: int, *, interlaced: bool = False, size: tuple[int, int] = MEGAPIXEL_PX
) -> bytes:
    """A flat PNG of any colour type and depth; one megapixel takes a few kilobytes.

    Args:
        colour: 0 grey, 2 RGB, 4 grey with alpha, 6 RGB with alpha.
        depth: 8 or 16 bits.
        interlaced: in Adam7's seven passes.
        size: width, height in px.
    """
    width, height = size
    pixel = {0: 1, 2: 3, 4: 2, 6: 4}[colour] * depth // 8
    rows = bytearray()
    passes = _ADAM7 if interlaced else [(0, 0, 1, 1)]
    for x, y, step_x, step_y in passes:
        columns, lines = len(range(x, width, step_x)), len(range(y, height, step_y))
        rows += (b"\0" + b"\xff" * (columns * pixel)) * lines
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    return (
        PNG_MAGIC
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + chunk(b"IEND", b"")
    )


_ADAM7: Final = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]  # first column, first row, step right, step down


def inked(size: tuple[int, int], *, lines: int) -> bytes:
    """A grey PNG with many separate strokes: cheap to decode, costly to clean and frame."""
    width, height = size
    pixels = np.full((height, width), 255, np.uint8)
    pixels[::2, ::2] = 0  # a point in each 2 x 2 px: the most components that there can be
    pixels[:: max(height // lines, 1)] = 0
    return _encoded(Image.fromarray(pixels), "PNG")


def noise(size: tuple[int, int], seed: int = 1) -> bytes:
    """A grey PNG of noise."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return _encoded(Image.fromarray(pixels), "PNG")


def _encoded(picture: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()
