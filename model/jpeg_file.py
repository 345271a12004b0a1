"""A JPEG file -> its header and the segments that decide pixels. Unpacks nothing.

Comments, thumbnails, colour profiles and further pictures never reach a decoder.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import TooManyParts, UnreadableCrop
from model.exif import UPRIGHT, exif_orientation, xmp_orientation

JPEG_MAGIC: Final = b"\xff\xd8\xff"
MAX_SEGMENTS: Final = 5_000  # a phone writes some dozens, a colour profile up to 255
MAX_TABLES: Final = 120  # Huffman and quantisation segments; progressive encoders write up to 40
MAX_SCANS: Final = 20  # passes of a progressive JPEG; encoders write 6 to 10
MAX_FILL_BYTES: Final = 4_096  # 0xFF before a marker
_SOI, _EOI, _SOS, _DHT, _DQT, _DRI = 0xD8, 0xD9, 0xDA, 0xC4, 0xDB, 0xDD
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_ALONE: Final = (0x01, *range(0xD0, 0xD8))  # markers without a segment
_END: Final = b"\xff\xd9"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_OTHER_FRAMES: Final = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: "arithmetic-coded",
    0xCA: "arithmetic-coded",
    0xCB: "arithmetic-coded",
    0xCD: "arithmetic-coded",
    0xCE: "arithmetic-coded",
    0xCF: "arithmetic-coded",
}


class JpegFile(NamedTuple):
    """What decides the pixels of a JPEG file's first picture."""

    width: int
    height: int
    num_components: int
    num_samples: int  # of all components, padded to whole blocks
    num_scans: int
    num_scan_samples: int  # summed over the scans; 0 where there is one scan of everything
    orientation: int  # 1 to 8, as EXIF counts
    spans: tuple[tuple[int, int], ...]  # the parts of the file to keep
    num_segments: int
    is_plain: bool  # one scan of everything, 1 or 3 components
    has_end: bool


class _Frame(NamedTuple):
    width: int
    height: int
    samples: dict[int, int]  # by the component's identifier
    is_progressive: bool


def walk_jpeg(data: bytes, max_segments: int = MAX_SEGMENTS) -> JpegFile:
    """Find the segments that decide the pixels of the first picture.

    Raises:
        UnreadableCrop: no frame or no scan; a kind of coding that is not read; more than 120
            tables or 20 scans.
        TooManyParts: more than `max_segments` segments.

    Source:
        ITU-T T.81, annex B.
    """
    return _Walk(data, max_segments).run()


def rebuild_jpeg(data: bytes, jpeg: JpegFile) -> bytes:
    """The file without metadata and without what follows the first picture."""
    parts = [data[start:end] for start, end in jpeg.spans]
    return b"".join([b"\xff\xd8", *parts, _END if jpeg.has_end else b""])


class _Walk:
    """The state of one walk: the place in the file, and what has been found so far."""

    def __init__(self, data: bytes, max_segments: int) -> None:
        self._data = data
        self._max_segments = max_segments
        self._spans: list[tuple[int, int]] = []
        self._num_segments = self._num_tables = self._num_scans = self._num_scan_samples = 0
        self._orientation = UPRIGHT
        self._has_exif = self._has_jfif = False
        self._frame: _Frame | None = None
        self._markers: NDArray[np.intp] | None = None  # where the file has markers, if asked

    def run(self) -> JpegFile:
        data = self._data
        place, has_end, is_single = 2, False, False
        while not has_end and not is_single:
            marker, start = self._next_marker(place)
            if marker == 0:
                break
            if marker == _EOI:
                has_end = True
            elif marker in _ALONE or marker == _SOI:
                place = start
            else:
                end = start + int.from_bytes(data[start : start + 2])
                if end < start + 2 or end > len(data):
                    break  # damaged; what has been found so far may be a picture
                if marker == _SOS:
                    end, has_end, is_single = self._read_scan(start, end)
                    self._spans.append((start - 2, end))
                elif self._read_segment(marker, start, end):
                    self._spans.append((start - 2, end))
                place = end
        # Damage between two scans: the decoder fills in what is missing, but wants an end.
        has_end = has_end or (self._num_scans > 0 and data.find(_END, place) >= 0)
        return self._result(has_end=has_end, is_single=is_single)

    def _next_marker(self, place: int) -> tuple[int, int]:
        """The next marker and the place after it; 0 where there is none."""
        data = self._data
        while True:
            place = data.find(b"\xff", place)
            if place < 0 or place + 1 >= len(data):
                return 0, len(data)
            marker = data[place + 1]
            if marker == 0xFF:
                run = data[place : place + MAX_FILL_BYTES]
                place += len(run) - len(run.lstrip(b"\xff"))
                if place + 1 >= len(data) or data[place] == 0xFF:
                    raise UnreadableCrop(
                        f"the JPEG has {MAX_FILL_BYTES} fill bytes or more in a row; save it again"
                    )
                marker, place = data[place], place - 1
            self._num_segments += 1
            if self._num_segments > self._max_segments:
                raise TooManyParts(
                    f"the JPEG has more than {self._max_segments} segments; "
                    "save it without metadata"
                )
            if marker:
                return marker, place + 2
            place += 2

    def _read_segment(self, marker: int, start: int, end: int) -> bool:
        """Note what a segment says; whether the decoder needs it."""
        data = self._data
        if marker in (_DHT, _DQT, _DRI):
            self._num_tables += 1
            if self._num_tables > MAX_TABLES:
                raise UnreadableCrop(
                    f"the JPEG has more than {MAX_TABLES} tables; save it as baseline"
                )
            return True
        if marker in (_BASELINE, _EXTENDED, _PROGRESSIVE):
            if self._frame is not None:
                raise UnreadableCrop("the JPEG has two frames; save it as baseline")
            self._frame = _parse_frame(data[start:end], marker)
            return True
        if marker in _OTHER_FRAMES:
            raise UnreadableCrop(f"the JPEG is {_OTHER_FRAMES[marker]}; save it as baseline")
        if marker == _APP1:
            self._read_app1(start, end)
        elif marker == _APP0 and not self._has_jfif:
            self._has_jfif = data.startswith(b"JFIF\0", start + 2)
            return self._has_jfif
        elif marker == _APP14 and data.startswith(b"Adobe", start + 2):
            self._num_tables += 1
            return self._num_tables <= MAX_TABLES
        return False

    def _read_app1(self, start: int, end: int) -> None:
        """EXIF decides the orientation; XMP where there is no EXIF."""
        data = self._data
        if data.startswith(b"Exif\0\0", start + 2) and not self._has_exif:
            self._has_exif = True
            orientation = exif_orientation(data[start + 2 : end])
            if orientation != UPRIGHT:
                self._orientation = orientation
        elif self._orientation == UPRIGHT and data.startswith(_XMP, start + 2):
            self._orientation = xmp_orientation(data[start:end])

    def _read_scan(self, start: int, end: int) -> tuple[int, bool, bool]:
        """Where a scan's data ends; whether the picture ends there, and is one scan."""
        data, frame = self._data, self._frame
        if frame is None:
            raise UnreadableCrop("the JPEG's header is damaged (no frame); send the whole file")
        self._num_scans += 1
        if self._num_scans > MAX_SCANS:
            raise UnreadableCrop(
                f"the JPEG has more than {MAX_SCANS} scans; at most {MAX_SCANS} are read: "
                "save it as baseline"
            )
        components = data[start + 3 : start + 3 + 2 * data[start + 2] : 2]
        everything = sum(frame.samples.values())
        has_all = len(components) == len(frame.samples)
        if self._num_scans == 1 and has_all and not frame.is_progressive:
            stop = data.find(_END, end)
            return (stop, True, True) if stop >= 0 else (len(data), False, True)
        self._num_scan_samples += sum(frame.samples.get(one, everything) for one in components)
        markers = self._all_markers()
        after = int(np.searchsorted(markers, end))
        return (int(markers[after]) if after < len(markers) else len(data)), False, False

    def _all_markers(self) -> NDArray[np.intp]:
        """Places of 0xFF that are neither stuffed, nor a restart, nor fill."""
        if self._markers is None:
            raw = np.frombuffer(self._data, dtype=np.uint8)
            places = np.flatnonzero(raw[:-1] == 0xFF)
            after = raw[places + 1]
            is_data = (after == 0) | (after == 0xFF) | ((after >= 0xD0) & (after <= 0xD7))
            self._markers = places[~is_data]
        return self._markers

    def _result(self, *, has_end: bool, is_single: bool) -> JpegFile:
        frame = self._frame
        if frame is None or not self._num_scans:
            raise UnreadableCrop(
                f"the JPEG of {len(self._data)} bytes does not decode (its header is damaged); "
                "send the whole file"
            )
        return JpegFile(
            width=frame.width,
            height=frame.height,
            num_components=len(frame.samples),
            num_samples=sum(frame.samples.values()),
            num_scans=self._num_scans,
            num_scan_samples=self._num_scan_samples,
            orientation=self._orientation,
            spans=tuple(self._spans),
            num_segments=self._num_segments,
            is_plain=is_single and len(frame.samples) in (1, 3),
            has_end=has_end,
        )


def _parse_frame(segment: bytes, marker: int) -> _Frame:
    """Size and samples of each component, from the segment with its length."""
    if len(segment) < 8 or len(segment) < 8 + 3 * segment[7]:
        raise UnreadableCrop("the JPEG's header is damaged (frame); send the whole file")
    if segment[2] != 8:
        raise UnreadableCrop(f"the JPEG has {segment[2]} bits a sample; save it with 8")
    height, width = int.from_bytes(segment[3:5]), int.from_bytes(segment[5:7])
    factors = {
        segment[place]: (segment[place + 1] >> 4, segment[place + 1] & 15)
        for place in range(8, 8 + 3 * segment[7], 3)
    }
    if segment[7] not in (1, 3, 4) or len(factors) != segment[7]:
        raise UnreadableCrop(
            f"the JPEG has {segment[7]} components; grey, colour or CMYK (1, 3 or 4) are read"
        )
    if any(not 1 <= factor <= 4 for pair in factors.values() for factor in pair):
        raise UnreadableCrop("the JPEG's header is damaged (sampling); send the whole file")
    wide = -(-width // (8 * max(across for across, _ in factors.values())))
    tall = -(-height // (8 * max(down for _, down in factors.values())))
    samples = {name: wide * tall * 64 * across * down for name, (across, down) in factors.items()}
    return _Frame(width, height, samples, marker == _PROGRESSIVE)
