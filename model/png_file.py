"""A PNG file -> its header and the chunks that decide pixels. Unpacks nothing.

Text, profiles, times and unknown chunks never reach a decoder, so neither their size, their
content nor their checksums matter.
"""

import zlib
from typing import Final, NamedTuple

from model.errors import ManyFrames, TooManyParts, UnreadableCrop
from model.exif import UPRIGHT, exif_orientation, xmp_orientation

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
MAX_CHUNKS: Final = 5_000  # a chunk for each row of the tallest crop, and metadata
MAX_PALETTE_BYTES: Final = 768
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_START: Final = PNG_MAGIC + b"\x00\x00\x00\x0dIHDR"
_HEADER_END: Final = len(_START) + 13 + 4  # 13 bytes of data, and the checksum
_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_XMP: Final = b"XML:com.adobe.xmp\0\0\0"


class PngFile(NamedTuple):
    """What decides the pixels of a PNG file."""

    width: int
    height: int
    depth: int  # bits a sample
    colour: int  # PNG's colour type
    interlaced: bool
    orientation: int  # 1 to 8, as EXIF counts
    palette: bytes  # of PLTE; empty where there is none
    transparency: bytes  # of tRNS; empty where there is none
    spans: tuple[tuple[int, int], ...]  # where the file has compressed pixels
    num_chunks: int
    is_whole: bool  # all chunks are complete, in place, and known or harmless
    has_metadata: bool  # any chunk or byte beside header, one IDAT and end

    @property
    def num_packed_bytes(self) -> int:
        """Bytes of compressed pixels."""
        return sum(end - start for start, end in self.spans)

    @property
    def num_raw_bytes(self) -> int:
        """Bytes of the unpacked rows, with a filter byte for each."""
        row_bits = self.width * CHANNELS[self.colour] * self.depth
        return self.height * ((row_bits + 7) // 8 + 1)


def walk_png(data: bytes, max_chunks: int = MAX_CHUNKS) -> PngFile:
    """Find the chunks that decide pixels.

    Raises:
        UnreadableCrop: no valid header or no pixels.
        TooManyParts: more than `max_chunks` chunks.
        ManyFrames: it is animated.

    Source:
        W3C, "Portable Network Graphics (PNG) Specification", 5.3 and 11.
    """
    _check_header(data)
    walk = _Walk(data, max_chunks)
    walk.run()
    if not walk.spans:
        raise UnreadableCrop(
            f"the PNG of {len(data)} bytes does not decode (no pixels); send the whole file"
        )
    colour, transparency = data[25], walk.transparency
    return PngFile(
        width=int.from_bytes(data[16:20]),
        height=int.from_bytes(data[20:24]),
        depth=data[24],
        colour=colour,
        interlaced=data[28] != 0,
        orientation=walk.orientation,
        palette=walk.palette,
        transparency=transparency if _fits(colour, transparency) else b"",
        spans=tuple(walk.spans),
        num_chunks=walk.num_chunks,
        is_whole=walk.is_whole and walk.ended,
        has_metadata=not (walk.num_chunks == 3 and walk.place == len(data) and data.endswith(_END)),
    )


def rebuild_png(data: bytes, png: PngFile, *, ihdr: bytes | None = None) -> bytes:
    """The file without metadata: header, palette, transparency, one chunk of pixels, end.

    Args:
        data: the file.
        png: what the walk found in it.
        ihdr: 13 bytes to write in place of the file's own header.
    """
    if not png.has_metadata and ihdr is None:
        return data
    parts = [PNG_MAGIC, _chunk(b"IHDR", ihdr or data[16:29])]
    if png.palette:
        parts.append(_chunk(b"PLTE", png.palette))
    if png.transparency:
        parts.append(_chunk(b"tRNS", png.transparency))
    parts.append(_chunk(b"IDAT", b"".join(data[start:end] for start, end in png.spans)))
    parts.append(_END)
    return b"".join(parts)


def bare_png(data: bytes) -> bytes | None:
    """A plain PNG without profiles, times, text and bytes after its end.

    Capture writes it instead of the pixels, which are many more bytes (python -m monitoring bench,
    the 128 px rows). The tests compare what it decodes to with what the model read.

    Returns:
        None for any other file: no PNG, with a palette, transparency, frames or a rotation, or
        damaged.
    """
    if not data.startswith(_START):
        return None
    try:
        png = walk_png(data)
    except (UnreadableCrop, ManyFrames):
        return None
    if not png.is_whole or png.palette or png.transparency or png.orientation != UPRIGHT:
        return None
    return rebuild_png(data, png)


class _Walk:
    """The state of one walk: the place in the file, and what has been found so far."""

    def __init__(self, data: bytes, max_chunks: int) -> None:
        self._data = data
        self._max_chunks = max_chunks
        self.place = _HEADER_END
        self.num_chunks = 1
        self.spans: list[tuple[int, int]] = []
        self.palette = self.transparency = b""
        self.orientation = UPRIGHT
        self.is_whole, self.ended = True, False

    def run(self) -> None:
        """Go to the end chunk, or to where the file breaks off."""
        data, num_bytes = self._data, len(self._data)
        while not self.ended and 0 <= self.place <= num_bytes - 8:
            start = self.place + 8
            end = start + int.from_bytes(data[self.place : start - 4])
            kind = data[start - 4 : start]
            self.place = end + 4
            self.num_chunks += 1
            if self.num_chunks > self._max_chunks:
                raise TooManyParts(
                    f"the PNG has more than {self._max_chunks} chunks; "
                    "save it again without metadata"
                )
            if kind == b"IDAT":
                self.spans.append((start, min(end, num_bytes)))
                self.is_whole = self.is_whole and self.place <= num_bytes
            elif kind == b"IEND":
                self.ended = True
            elif not self.spans and (self.place > num_bytes or not kind.isalpha()):
                # A damaged length before the pixels: go on where they start.
                self.is_whole = False
                self.place = data.find(b"IDAT", start - 4) - 4
            else:
                self._read(kind, start, end)

    def _read(self, kind: bytes, start: int, end: int) -> None:
        data = self._data
        if kind == b"PLTE" and not self.spans:
            self.palette = self.palette or data[start : min(end, start + MAX_PALETTE_BYTES)]
        elif kind == b"tRNS" and not self.spans:
            self.transparency = self.transparency or data[start:end]
        elif kind == b"acTL" and not self.spans:
            _check_frames(data[start - 4 : end + 4])
        elif kind == b"eXIf":
            self._turn(exif_orientation(data[start:end]))
        elif kind == b"iTXt" and data.startswith(_XMP, start):
            self._turn(xmp_orientation(data[start:end]))
        else:
            self.is_whole = self.is_whole and kind[:1].islower()

    def _turn(self, orientation: int) -> None:
        if self.orientation == UPRIGHT:
            self.orientation = orientation


def _check_header(data: bytes) -> None:
    """Refuse a header that PNG does not have; its checksum is not looked at."""
    if data[12:16] == b"CgBI":
        raise UnreadableCrop(
            "the PNG is of Apple's own kind (CgBI), as apps for iPhones hold it; save it as PNG"
        )
    if len(data) < _HEADER_END or not data.startswith(_START):
        raise UnreadableCrop(
            f"the PNG of {len(data)} bytes does not decode (its header is damaged); "
            "send the whole file"
        )
    depth, colour = data[24], data[25]
    if depth not in _DEPTHS.get(colour, ()) or data[26] or data[27] or data[28] > 1:
        raise UnreadableCrop(
            f"the PNG's header has bit depth {depth}, colour type {colour}, compression "
            f"{data[26]}, filter {data[27]} and interlace {data[28]}, which PNG does not have; "
            "send the whole file"
        )


def _check_frames(chunk: bytes) -> None:
    """Refuse an animation; a damaged count of frames is metadata and is ignored."""
    num_frames = int.from_bytes(chunk[4:8])
    is_sound = len(chunk) == 16 and zlib.crc32(chunk[:-4]) == int.from_bytes(chunk[-4:])
    if is_sound and num_frames > 1:
        raise ManyFrames(f"the PNG holds {num_frames} frames; send one picture a crop")


def _fits(colour: int, transparency: bytes) -> bool:
    """Whether a tRNS chunk is as long as its colour type demands."""
    if colour == 3:
        return len(transparency) <= 256
    return len(transparency) == {0: 2, 2: 6}.get(colour, 0)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join(
        (len(data).to_bytes(4), kind, data, zlib.crc32(data, zlib.crc32(kind)).to_bytes(4))
    )
