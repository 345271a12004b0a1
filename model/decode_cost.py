"""A file's header and size -> the CPU time that decoding it takes at most, and the limits on it.

The constants are upper bounds on one core of an AMD EPYC; `tests/fuzz/decode_time.py` searches for
a file that takes longer. JPEG is bounded by its header, its size and its scans. A PNG's compressed
pixels can hide work that no header tells, 130 ns a byte: `model.metered` stops such a file.
"""

from typing import Final

from model.errors import CropError, CropSizeError, TooManyParts
from model.jpeg_file import JPEG_MAGIC, JpegFile, walk_jpeg
from model.png_file import MAX_CHUNKS, PNG_MAGIC, PngFile, walk_png

MAX_FILE_BYTES: Final = 2_097_152
MAX_DECODE_MS: Final = 150.0  # CPU time of any file, whatever its bytes
MAX_RAW_BYTES: Final = 17_000_000  # of a PNG, unpacked: 4 megapixels of 4 bytes
SMALL_RAW_BYTES: Final = 524_288  # at most this is decoded with the interpreter lock held
SMALL_PACKED_BYTES: Final = 32_768
PLAIN_GREY_START: Final = b"\x08\x00\x00\x00\x00"  # depth 8, grey, not interlaced

_MAX_PREDICTED_PARTS: Final = 100  # chunks or segments looked at before a file is decoded
_WALK_MS: Final = 0.02
_CHUNK_MS: Final = 0.0015
_HIDDEN_MS_PER_BYTE: Final = 110e-6  # packed bytes beyond the pixels' own hold work and no pixel
_MS_PER_FRAMED_PX: Final = 1.5e-6  # the framing reduces a large crop


def predict_decode_ms(data: bytes) -> float:
    """Milliseconds of CPU that `model.decode.decode` needs at most, with reducing a large crop.

    Takes well below a millisecond for any file, and never raises. A file with more than 100 chunks
    or segments is taken for as costly as a file may be: only a few encoders write so many.
    """
    if len(data) > MAX_FILE_BYTES:
        return _WALK_MS
    try:
        if data.startswith(PNG_MAGIC):
            if is_plain_png(data):
                return _plain_png_ms(data)
            return png_ms(walk_png(data, _MAX_PREDICTED_PARTS))
        if data.startswith(JPEG_MAGIC):
            return min(jpeg_ms(walk_jpeg(data, _MAX_PREDICTED_PARTS)), MAX_DECODE_MS)
    except TooManyParts:
        return _many_parts_ms(data)
    except CropError:
        return _WALK_MS + min(len(data) // 4, _MAX_PREDICTED_PARTS) * _CHUNK_MS
    return _WALK_MS


def predict_px(data: bytes) -> int:
    """Pixels of a file by its header; 0 where that cannot be read. Never raises."""
    if data.startswith(PNG_MAGIC):
        return int.from_bytes(data[16:20]) * int.from_bytes(data[20:24])
    if data.startswith(JPEG_MAGIC):
        try:
            jpeg = walk_jpeg(data, _MAX_PREDICTED_PARTS)
        except TooManyParts:
            return MAX_RAW_BYTES
        except CropError:
            return 0
        return jpeg.width * jpeg.height
    return 0


def _many_parts_ms(data: bytes) -> float:
    """Milliseconds for a file of which only the header was looked at."""
    if not data.startswith(PNG_MAGIC):
        return MAX_DECODE_MS
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    chunks_ms = min(len(data) // 12, MAX_CHUNKS) * _CHUNK_MS
    return min(chunks_ms + len(data) * 20e-6 + width * height * 60e-6, MAX_DECODE_MS)


def is_plain_png(data: bytes) -> bool:
    """Whether it is what most scanners send: 8-bit grey, and no chunk beside the pixels."""
    return (
        data[24:29] == PLAIN_GREY_START
        and data[37:41] == b"IDAT"
        and data[8:16] == b"\0\0\0\x0dIHDR"
        and data[-8:-4] == b"IEND"
        and int.from_bytes(data[33:37]) == len(data) - 57
        and len(data) < SMALL_PACKED_BYTES
        and data.startswith(PNG_MAGIC)
    )


def is_small_png(png: PngFile) -> bool:
    """Whether the faster decoder reads it: whole bytes of grey or colour, in order, and few."""
    return (
        png.depth == 8
        and png.colour in (0, 2, 6)
        and not png.interlaced
        and not png.transparency
        and png.num_packed_bytes <= SMALL_PACKED_BYTES
        and png.num_raw_bytes <= SMALL_RAW_BYTES
    )


def is_small_jpeg(jpeg: JpegFile) -> bool:
    """Whether the faster decoder reads it: one scan of grey or colour, whole, and few samples."""
    return (
        jpeg.is_plain
        and jpeg.has_end
        and jpeg.num_samples <= SMALL_RAW_BYTES
        and _num_kept_bytes(jpeg) <= SMALL_PACKED_BYTES
    )


def png_ms(png: PngFile) -> float:
    """Milliseconds for a PNG; at most `MAX_DECODE_MS`, which `model.metered` enforces."""
    ms = _WALK_MS + png.num_chunks * _CHUNK_MS
    if is_small_png(png):
        ms += 0.12 + png.num_packed_bytes * 8e-6 + png.num_raw_bytes * 4e-6
    else:
        ms += 0.25 + png.num_packed_bytes * 20e-6 + png.num_raw_bytes * 12e-6
    if png.interlaced:
        ms += png.width * png.height * 15e-6
    ms += max(png.num_packed_bytes - png.num_raw_bytes, 0) * _HIDDEN_MS_PER_BYTE
    return min(ms + after_png_ms(png), MAX_DECODE_MS)


def after_png_ms(png: PngFile) -> float:
    """Milliseconds for conversion to grey and reduction, after a PNG's pixels are unpacked."""
    per_px = _MS_PER_FRAMED_PX
    if png.colour in (4, 6) or png.transparency:
        per_px += 14e-6
    elif png.colour in (2, 3):
        per_px += 5e-6
    if png.depth == 16:
        per_px += 8e-6
    if png.orientation != 1:
        per_px += 3e-6
    return png.width * png.height * per_px


def jpeg_ms(jpeg: JpegFile) -> float:
    """Milliseconds for a JPEG; may be over `MAX_DECODE_MS`, see `check_jpeg_cost`."""
    ms = _WALK_MS + jpeg.num_segments * _CHUNK_MS + jpeg.width * jpeg.height * 6e-6
    if is_small_jpeg(jpeg):
        return ms + 0.08 + _num_kept_bytes(jpeg) * 20e-6 + jpeg.num_samples * 3e-6
    if not jpeg.num_scan_samples:
        return ms + 0.25 + _num_kept_bytes(jpeg) * 20e-6 + jpeg.num_samples * 3e-6
    return (
        ms
        + 0.4
        + _num_kept_bytes(jpeg) * 45e-6
        + jpeg.num_samples * 2.5e-6
        + jpeg.num_scan_samples * 0.8e-6
    )


def check_png_cost(png: PngFile) -> None:
    """Refuse a PNG that unpacks to too much, or whose packed pixels are longer than its pixels.

    Raises:
        CropSizeError: more than 17 MB unpacked, or far more packed than unpacked bytes.
    """
    if png.num_raw_bytes > MAX_RAW_BYTES:
        raise CropSizeError(
            f"the PNG unpacks to {png.num_raw_bytes} bytes; at most {MAX_RAW_BYTES} are read: "
            "save it with 8 bits a sample or in grey"
        )
    allowed = 2 * png.num_raw_bytes + 16 * png.height + 4096
    if png.num_packed_bytes > allowed:
        raise CropSizeError(
            f"the PNG packs {png.num_raw_bytes} bytes of pixels in {png.num_packed_bytes}; "
            f"at most {allowed} are read: save it again"
        )


def check_jpeg_cost(jpeg: JpegFile) -> None:
    """Refuse a JPEG that would take too long.

    Raises:
        CropSizeError: more than 150 ms.
    """
    ms = jpeg_ms(jpeg)
    if ms > MAX_DECODE_MS:
        raise CropSizeError(
            f"the JPEG of {jpeg.width}x{jpeg.height} px in {jpeg.num_scans} scans takes up to "
            f"{ms:.0f} ms to decode; the most allowed is {MAX_DECODE_MS:.0f}: "
            "save it as baseline, or smaller"
        )


def _plain_png_ms(data: bytes) -> float:
    num_px = min(int.from_bytes(data[16:20]) * int.from_bytes(data[20:24]), MAX_RAW_BYTES)
    return 0.02 + len(data) * 8e-6 + num_px * (4e-6 + _MS_PER_FRAMED_PX)


def _num_kept_bytes(jpeg: JpegFile) -> int:
    return sum(end - start for start, end in jpeg.spans)
