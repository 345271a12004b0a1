"""Bytes -> crop. Knows the two allowed file formats and the size limits, nothing about digits.

A file is walked first (`model.png_file`, `model.jpeg_file`), then the decoder gets a file without
metadata, if its size and cost are within the limits.
"""

import io
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from kornia_rs import io as kornia_io
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

from model.decode_cost import (
    MAX_DECODE_MS,
    MAX_FILE_BYTES,
    SMALL_RAW_BYTES,
    after_png_ms,
    check_jpeg_cost,
    check_png_cost,
    is_plain_png,
    is_small_jpeg,
    is_small_png,
    png_ms,
)
from model.errors import CropError, CropSizeError, UnreadableCrop, UnsupportedFormat
from model.exif import UPRIGHT
from model.grey import grey_of, narrow_16_bit, show_paper, turn_upright
from model.jpeg_file import JPEG_MAGIC, rebuild_jpeg, walk_jpeg
from model.metered import OVERSHOOT_MS, READ_BYTES, MeteredFile
from model.png_file import PNG_MAGIC, PngFile, rebuild_png, walk_png

MIN_SIDE_PX: Final = 4
MAX_SIDE_PX: Final = 4096
MAX_AREA_PX: Final = 4_000_000

_GREY, _GREY_ALPHA, _COLOUR_ALPHA = 0, 4, 6  # PNG's colour types
_KORNIA_MODES: Final = {0: "mono", 2: "rgb", 6: "rgba"}
_LOW_BYTES: Final = {2: "RGB;16L", 6: "RGBA;16L"}  # Pillow's names of the other byte of a sample
_DARK: Final = 64  # upper bytes below it belong to values of at most 14 bits
BUDGET_FACTOR: Final = 2.0  # a slower machine; the sender is charged what is predicted
BUDGET_MS: Final = 5.0


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode one PNG or JPEG file to grey.

    Args:
        data: the whole file.

    Returns:
        (H, W) uint8, 0 black to 255 white, upright, transparency shown on white paper.

    Raises:
        UnsupportedFormat: neither PNG nor JPEG.
        UnreadableCrop: truncated or damaged.
        CropSizeError: a file over 2 MB, a side outside 4 to 4096 px, more than 4,000,000 px, or too
            costly to decode.
        ManyFrames: an animated PNG.
    """
    file_format = _sniff(data)
    if len(data) > MAX_FILE_BYTES:
        raise CropSizeError(
            f"the {file_format} has {len(data)} bytes; at most {MAX_FILE_BYTES} are read: "
            "send a smaller picture"
        )
    try:
        if is_plain_png(data):
            plain = _read_plain_png(data)
            if plain is not None:
                return plain
        return _read_png(data) if file_format == "PNG" else _read_jpeg(data)
    except CropError:
        raise
    # A decoder raises different exceptions depending on where the bytes are damaged (OSError,
    # SyntaxError, struct.error, zlib.error, ...); all of them mean that the file is damaged.
    except Exception as error:
        raise UnreadableCrop(
            f"the {file_format} of {len(data)} bytes does not decode ({error}); send the whole file"
        ) from error


def check_size(width_px: int, height_px: int) -> None:
    """Refuse a crop that is too small to hold a digit, or too large to read quickly.

    Raises:
        CropSizeError: a side outside 4 to 4096 px, or more than 4,000,000 px.
    """
    size = f"the crop is {width_px}x{height_px} px"
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise CropSizeError(f"{size}; the shortest side allowed is {MIN_SIDE_PX}")
    if max(width_px, height_px) > MAX_SIDE_PX:
        raise CropSizeError(f"{size}; the longest side allowed is {MAX_SIDE_PX}")
    if width_px * height_px > MAX_AREA_PX:
        raise CropSizeError(f"{size}; the largest area allowed is {MAX_AREA_PX} px")


def _sniff(data: bytes) -> str:
    """Detect the format by the first bytes; the declared content type is ignored."""
    if data.startswith(PNG_MAGIC):
        return "PNG"
    if data.startswith(JPEG_MAGIC):
        return "JPEG"
    start = data[:8].hex(" ") or "nothing"
    raise UnsupportedFormat(f"the body starts with {start}; send a PNG or a JPEG file")


def _read_plain_png(data: bytes) -> NDArray[np.uint8] | None:
    """Read the kind of PNG that most scanners send, without a walk.

    Measured by `python -m loadtest bench --parts stages` (decode_us_28). Plain twin: `_read_png`.
    Returns None where the file does not decode; Pillow then reports what is wrong.
    """
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    check_size(width, height)
    if width * height > SMALL_RAW_BYTES:
        return None
    pixels = _or_none(kornia_io.decode_image_png_u8, data, (height, width), "mono")
    return None if pixels is None else pixels.reshape(height, width)


def _read_png(data: bytes) -> NDArray[np.uint8]:
    png = walk_png(data)
    check_size(png.width, png.height)
    check_png_cost(png)
    grey = _small_png(data, png) if is_small_png(png) else None
    if grey is None:
        grey = _large_png(data, png, _end_s(png))
    return grey if png.orientation == UPRIGHT else turn_upright(grey, png.orientation)


def _small_png(data: bytes, png: PngFile) -> NDArray[np.uint8] | None:
    shape = (png.height, png.width)
    pixels = _or_none(
        kornia_io.decode_image_png_u8, rebuild_png(data, png), shape, _KORNIA_MODES[png.colour]
    )
    if pixels is None:
        return None
    return pixels.reshape(shape) if png.colour == _GREY else grey_of(Image.fromarray(pixels))


def _or_none(
    decoder: Callable[..., NDArray[np.uint8]], *arguments: object
) -> NDArray[np.uint8] | None:
    """What one of kornia_rs' decoders returns; None where it cannot decode the file.

    It raises no class narrower than Exception, and a panic in Rust is a BaseException, which would
    end the thread that reads for every sender.
    """
    try:
        return decoder(*arguments)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001
        return None


def _end_s(png: PngFile) -> float:
    """When this thread's CPU clock says that unpacking has taken too long."""
    most_ms = MAX_DECODE_MS - OVERSHOOT_MS - after_png_ms(png)
    return time.thread_time() + min(BUDGET_FACTOR * png_ms(png) + BUDGET_MS, most_ms) / 1e3


def _large_png(data: bytes, png: PngFile, end_s: float) -> NDArray[np.uint8]:
    """Read with Pillow, which releases the interpreter lock and can be stopped."""
    if png.colour == _GREY:
        return _grey_png(data, png, end_s)
    if png.depth < 16:
        return grey_of(_unpack(data, png, end_s))
    if png.colour == _GREY_ALPHA:
        # Four bytes a pixel, filtered as such: read them as if they were red to alpha.
        eight_bit = data[16:24] + b"\x08\x06" + data[26:29]
        pair = np.asarray(_unpack(data, png, end_s, ihdr=eight_bit)).view(">u2")
        grey, alpha = narrow_16_bit(pair[..., 0]), narrow_16_bit(pair[..., 1])
        return grey_of(Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha))))
    return grey_of(_colour_16_bit(data, png, end_s))


def _grey_png(data: bytes, png: PngFile, end_s: float) -> NDArray[np.uint8]:
    """Read grey of any depth; tRNS then names one level."""
    picture = _unpack(data, png._replace(transparency=b""), end_s)
    if png.depth == 16:
        wide = np.asarray(picture)
        grey = narrow_16_bit(wide)
    else:
        grey = grey_of(picture)
        wide = grey // np.uint8(255 // (2**png.depth - 1)) if png.transparency else grey
    if not png.transparency:
        return grey
    return show_paper(grey, wide == int.from_bytes(png.transparency))


def _colour_16_bit(data: bytes, png: PngFile, end_s: float) -> Image.Image:
    """Read the upper byte of each sample, and the lower where the upper tells too little."""
    bare = png._replace(transparency=b"")
    upper = np.asarray(_unpack(data, bare, end_s))
    is_dark = int(upper[..., :3].max()) < _DARK
    if not is_dark and not png.transparency:
        return Image.fromarray(upper)
    lower = np.asarray(_unpack(data, bare, end_s, raw_mode=_LOW_BYTES[png.colour]))
    wide = np.empty(upper.shape, dtype="<u2")
    halves = wide.view(np.uint8).reshape(*upper.shape, 2)
    halves[..., 0], halves[..., 1] = lower, upper
    del lower, halves
    bands = [narrow_16_bit(wide[..., :3]) if is_dark else upper[..., :3]]
    if png.colour == _COLOUR_ALPHA:
        bands.append(narrow_16_bit(wide[..., 3:]))
    elif png.transparency:
        is_transparent = (wide == np.frombuffer(png.transparency, dtype=">u2")).all(axis=2)
        bands.append(np.where(is_transparent, np.uint8(0), np.uint8(255))[..., np.newaxis])
    return Image.fromarray(np.concatenate(bands, axis=2))


def _unpack(
    data: bytes,
    png: PngFile,
    end_s: float,
    *,
    ihdr: bytes | None = None,
    raw_mode: str | None = None,
) -> Image.Image:
    """Decode a PNG's pixels with Pillow, within a CPU time."""
    picture = PngImagePlugin.PngImageFile(MeteredFile(rebuild_png(data, png, ihdr=ihdr), end_s))
    picture.decodermaxblock = READ_BYTES
    if raw_mode is not None:
        picture.tile = [tile._replace(args=raw_mode) for tile in picture.tile]
    picture.load()
    return picture


def _read_jpeg(data: bytes) -> NDArray[np.uint8]:
    jpeg = walk_jpeg(data)
    check_size(jpeg.width, jpeg.height)
    check_jpeg_cost(jpeg)
    bare = rebuild_jpeg(data, jpeg)
    grey = _small_jpeg(bare, jpeg.num_components) if is_small_jpeg(jpeg) else None
    if grey is None:
        grey = grey_of(_open_jpeg(bare))
    return grey if jpeg.orientation == UPRIGHT else turn_upright(grey, jpeg.orientation)


def _small_jpeg(bare: bytes, num_components: int) -> NDArray[np.uint8] | None:
    """Read with libjpeg-turbo's own interface: 28x28 px in a tenth of Pillow's time."""
    mode = "mono" if num_components == 1 else "rgb"
    pixels = _or_none(kornia_io.decode_image_jpegturbo, bare, mode)
    if pixels is None:
        return None
    return pixels[..., 0] if num_components == 1 else grey_of(Image.fromarray(pixels))


def _open_jpeg(bare: bytes) -> Image.Image:
    picture = JpegImagePlugin.JpegImageFile(io.BytesIO(bare))
    picture.load()
    return picture
