"""Bytes -> crop. Knows the two allowed file formats and the size limits, nothing about digits."""

import io
from typing import Final

import numpy as np
import pyspng
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from model.errors import CropError, CropSizeError, ManyFrames, UnreadableCrop, UnsupportedFormat

MIN_SIDE_PX: Final = 4
MAX_SIDE_PX: Final = 2048
MAX_AREA_PX: Final = 1_000_000
MAX_SCANS: Final = 20  # passes of a progressive JPEG; encoders write 6 to 10
PAPER: Final = 255  # what a transparent pixel shows: white paper

_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC: Final = b"\xff\xd8\xff"
_JPEG_SCAN: Final = b"\xff\xda"  # a scan's start; inside its data 0xFF is always followed by 0
# An 8-bit grey PNG without interlacing or palette has these bytes in its IHDR after the size. Where
# the next chunk is IDAT, it has no transparency, gamma or animation.
_IHDR_REST: Final = slice(24, 29)
_NEXT_CHUNK: Final = slice(37, 41)
_PLAIN_GREY: Final = b"\x08\x00\x00\x00\x00"
_EXIF_ORIENTATION: Final = 0x0112


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode one PNG or JPEG file to grey.

    Args:
        data: the whole file.

    Returns:
        (H, W) uint8, 0 black to 255 white, upright, transparency shown on white paper.

    Raises:
        UnsupportedFormat: neither PNG nor JPEG.
        UnreadableCrop: truncated or damaged.
        CropSizeError: a side outside 4 to 2048 px, or more than 1,000,000 px.
        ManyFrames: an animated PNG or a multi-picture JPEG.
    """
    file_format = _sniff(data)
    try:
        if _is_plain_png(data):
            plain = _read_plain_png(data)
            if plain is not None:
                return plain
        return _read(data, file_format)
    except CropError:
        raise
    # Pillow checks its own limit first; its warning is an exception where warnings are errors.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CropSizeError(
            f"the {file_format} is far too large ({error}); "
            f"the largest area allowed is {MAX_AREA_PX} px"
        ) from error
    except UnidentifiedImageError as error:  # its own message holds a memory address
        raise UnreadableCrop(
            f"the {file_format} of {len(data)} bytes does not decode (its header is damaged); "
            "send the whole file"
        ) from error
    # A decoder raises different exceptions depending on where the bytes are damaged (OSError,
    # SyntaxError, struct.error, zlib.error, ...); all of them mean that the file is damaged.
    except Exception as error:
        raise UnreadableCrop(
            f"the {file_format} of {len(data)} bytes does not decode ({error}); send the whole file"
        ) from error


def _is_plain_png(data: bytes) -> bool:
    return (
        data[_IHDR_REST] == _PLAIN_GREY
        and data[_NEXT_CHUNK] == b"IDAT"
        and data.startswith(_PNG_MAGIC)
        and b"eXIf" not in data
    )


def _read_plain_png(data: bytes) -> NDArray[np.uint8] | None:
    """Read with libspng the kind of PNG that most scanners send: 28x28 px in 6 us, Pillow in 40 us.

    Measured by `python -m loadtest bench --parts stages` (decode_us_28). Plain twin: Pillow, in
    `_read`. Returns None where the file does not decode; Pillow then reports what is wrong.
    """
    check_size(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    try:
        pixels: NDArray[np.uint8] = pyspng.load(data)
    except RuntimeError:
        return None
    return pixels.reshape(pixels.shape[:2])


def _read(data: bytes, file_format: str) -> NDArray[np.uint8]:
    # A scan of 12 bytes takes 1 ms: 21,000 of them in 256 KB are 20 s for one crop.
    num_scans = data.count(_JPEG_SCAN) if file_format == "JPEG" else 0
    if num_scans > MAX_SCANS:
        raise UnreadableCrop(
            f"the JPEG has {num_scans} scans; at most {MAX_SCANS} are read: save it as baseline"
        )
    picture = Image.open(io.BytesIO(data), formats=(file_format,))
    # Check the declared size before decompressing pixels: this refuses decompression bombs.
    check_size(*picture.size)
    num_frames = getattr(picture, "n_frames", 1)
    if num_frames != 1:
        raise ManyFrames(f"the {file_format} holds {num_frames} frames; send one picture a crop")
    picture.load()
    return _to_grey(picture)


def _sniff(data: bytes) -> str:
    """Detect the format by the first bytes; the declared content type is ignored."""
    if data.startswith(_PNG_MAGIC):
        return "PNG"
    if data.startswith(_JPEG_MAGIC):
        return "JPEG"
    start = data[:8].hex(" ") or "nothing"
    raise UnsupportedFormat(f"the body starts with {start}; send a PNG or a JPEG file")


def check_size(width_px: int, height_px: int) -> None:
    """Refuse a crop that is too small to hold a digit, or too large to read quickly.

    Raises:
        CropSizeError: a side outside 4 to 2048 px, or more than 1,000,000 px.
    """
    size = f"the crop is {width_px}x{height_px} px"
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise CropSizeError(f"{size}; the shortest side allowed is {MIN_SIDE_PX}")
    if max(width_px, height_px) > MAX_SIDE_PX:
        raise CropSizeError(f"{size}; the longest side allowed is {MAX_SIDE_PX}")
    if width_px * height_px > MAX_AREA_PX:
        raise CropSizeError(f"{size}; the largest area allowed is {MAX_AREA_PX} px")


def _to_grey(picture: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """Convert every colour mode of PNG and JPEG to grey on white paper."""
    if picture.mode == "L" and "transparency" not in picture.info and not _is_rotated(picture):
        return np.asarray(picture)
    upright: Image.Image = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion to "L" clips at 255 instead of scaling.
        wide = np.asarray(upright).astype(np.uint32)
        grey = (np.minimum(wide, 65535) // 257).astype(np.uint8)
        transparent = upright.info.get("transparency")  # one grey level, where there is any
        return grey if transparent is None else np.where(wide == transparent, PAPER, grey)
    if upright.has_transparency_data:
        paper = Image.new("RGBA", upright.size, (PAPER, PAPER, PAPER, 255))
        upright = Image.alpha_composite(paper, upright.convert("RGBA"))
    return np.asarray(upright.convert("L"))


def _is_rotated(picture: Image.Image) -> bool:
    # A PNG without EXIF has no orientation; a JPEG must be parsed to find its own.
    if "exif" not in picture.info and picture.format == "PNG":
        return False
    return bool(picture.getexif().get(_EXIF_ORIENTATION, 1) != 1)
