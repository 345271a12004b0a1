"""The members of each kind of costly body that the fairness checks send.

Built when they are sent, because some take megabytes. Pure.
"""

import io
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loadtest.clients.http1 import Request
from tests.acceptance import costly_files as costly

Members = Mapping[str, Callable[[str], bytes]]  # name -> the wire, from the attacker's key


def npy(array: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _many(file: Callable[[], bytes], num: int, media: str = "image/png") -> Callable[[str], bytes]:
    return lambda key: costly.bulk([file()] * num, key, media)


def _one(file: Callable[[], bytes], media: str = "image/png") -> Callable[[str], bytes]:
    return lambda key: costly.single(file(), key, media)


def _packed(num: int, side_px: int) -> Callable[[str], bytes]:
    crops = np.full((num, side_px, side_px), 255, np.uint8)
    crops[:, side_px // 4 : -side_px // 4, side_px // 2 : side_px // 2 + 2] = 0
    return lambda key: costly.packed(npy(crops), key)


def _segments(marker: int, payload: bytes, num_bytes: int) -> bytes:
    return costly.jpeg_with_segments(
        costly.segment(marker, payload), num_bytes, Image.new("L", (40, 52), 255)
    )


def _ancillary(name: str, num: int) -> bytes:
    return costly.png_with_chunks(costly.unpacking_chunks(num)[name], costly.flat_png("L"))


def _small(name: str, num_bytes: int) -> bytes:
    return costly.png_with_chunks(costly.many_small_chunks(num_bytes)[name], costly.flat_png("L"))


def _field(grey: NDArray[np.uint8], query: str = "") -> Callable[[str], bytes]:
    def wire(key: str) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, "PNG")
        body = stream.getvalue()
        return Request(f"/v1/field{query}", "image/png", body, {"X-Api-Key": key}).wire("a")

    return wire


def _bars(num: int, height_px: int, width_px: int) -> NDArray[np.uint8]:
    grey = np.full((height_px, width_px), 240, np.uint8)
    step, thick = width_px // num, max(width_px // num // 4, 1)
    for left in range(step // 2, width_px - thick, step):
        grey[height_px // 4 : -height_px // 4, left : left + thick] = 20
    return grey


_JPEG: Final = "image/jpeg"
FIELDS: Final[Members] = {
    "fields of 4 Mpx with 40 strokes": _field(_bars(40, 977, 4_094)),
    "fields of 600x150 px with 40 strokes": _field(_bars(40, 150, 600), "?digits=2-12"),
    "blank fields of 4 Mpx": _field(np.full((2_000, 2_000), 240, np.uint8)),
    "noise": _field(np.random.default_rng(1).integers(0, 256, (150, 600), dtype=np.uint8)),
    "a slow pattern": _field(_bars(12, 150, 600), "?digits=12&pattern=(%5B0-9%5D%3F)%7B99%7D"),
}
_QUANTIZATION: Final = bytes([0, *[1] * 64])
JPEGS: Final[Members] = {
    "8 MB of Exif segments in bulk": _many(
        lambda: _segments(0xE1, costly.exif(), costly.BULK_BYTES), 1, _JPEG
    ),
    "32 files of 250 KB of Exif": _many(
        lambda: _segments(0xE1, costly.exif(), costly.SINGLE_BYTES), 32, _JPEG
    ),
    "one file of 250 KB of Exif": _one(
        lambda: _segments(0xE1, costly.exif(), costly.SINGLE_BYTES), _JPEG
    ),
    "8 MB of empty comments in bulk": _many(
        lambda: _segments(0xFE, b"", costly.BULK_BYTES), 1, _JPEG
    ),
    "2 MB of private segments": _one(lambda: _segments(0xEB, b"", 1_990_000), _JPEG),
    "8 MB of tables in bulk": _many(
        lambda: _segments(0xDB, _QUANTIZATION, costly.BULK_BYTES), 1, _JPEG
    ),
    "200 progressive files of 11 passes": _many(lambda: costly.progressive_jpeg(5), 200, _JPEG),
    "one file of 50,000 passes": _one(lambda: costly.progressive_jpeg(12_000), _JPEG),
    "one Exif of 5,000 entries": _one(lambda: _segments(0xE1, costly.exif(5_000), 240_000), _JPEG),
}
PNGS: Final[Members] = {
    "one profile of 1 MB, 250 files": _many(lambda: _ancillary("iCCP", 1), 250),
    "100 profiles of 1 MB": _one(lambda: _ancillary("iCCP", 100)),
    "200 texts of 1 MB": _one(lambda: _ancillary("zTXt", 200)),
    "one text of 1 MB, 250 files": _many(lambda: _ancillary("zTXt", 1), 250),
    "one international text of 1 MB, 250 files": _many(lambda: _ancillary("iTXt", 1), 250),
    "250 KB of empty texts": _one(lambda: _small("tEXt", costly.SINGLE_BYTES)),
    "250 KB of private chunks": _one(lambda: _small("private", costly.SINGLE_BYTES)),
    "250 KB of palettes": _one(lambda: _small("sPLT", costly.SINGLE_BYTES)),
    "250 KB of Exif chunks": _one(lambda: _small("eXIf", costly.SINGLE_BYTES)),
    "8 MB of private chunks in bulk": _many(lambda: _small("private", costly.BULK_BYTES), 1),
    "20,000 empty data chunks": _one(lambda: costly.png_of_small_idats(20_000)),
}
BULKS: Final[Members] = {
    "256 of 16-bit RGBA": _many(lambda: costly.wide_png(6, 16), 256),
    "256 of 16-bit grey": _many(lambda: costly.wide_png(0, 16), 256),
    "256 of interlaced 16-bit RGBA": _many(lambda: costly.wide_png(6, 16, interlaced=True), 256),
    "256 of 8-bit RGB": _many(lambda: costly.wide_png(2, 8), 256),
    "64 of 16-bit RGBA and 4 Mpx": _many(lambda: costly.wide_png(6, 16, size=(2000, 2000)), 64),
    "one of 16-bit RGBA": _one(lambda: costly.wide_png(6, 16)),
    "200 of 1 Mpx with 30 strokes": _many(lambda: costly.inked((1000, 1000), lines=30), 200),
    "one of 250,000 points": _one(lambda: costly.inked((1000, 1000), lines=2)),
    "40 of noise": _many(lambda: costly.noise((440, 440)), 40),
    "1,000 small files": _many(lambda: costly.noise((40, 52)), 1000),
    "1,024 packed crops": _packed(1024, 28),
    "64 packed crops of 300 px": _packed(64, 300),
}
