"""Metadata bytes -> the orientation of the picture. Reads one number and knows no file format."""

import re
from typing import Final, Literal

UPRIGHT: Final = 1
_ORIENTATION_TAG: Final = 0x0112
_ENTRY_BYTES: Final = 12
_MAX_ENTRIES: Final = 200  # cameras write 10 to 40
_SIZES: Final = {1: 1, 3: 2, 4: 4}  # bytes of the integer types: BYTE, SHORT, LONG
_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def exif_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 where it holds none or is damaged.

    Source:
        CIPA DC-008 (Exif 2.32), 4.6.2: TIFF header, then the entries of the 0th IFD.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return UPRIGHT
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    start = int.from_bytes(exif[4:8], order)
    num_entries = min(int.from_bytes(exif[start : start + 2], order), _MAX_ENTRIES)
    for number in range(num_entries):
        place = start + 2 + number * _ENTRY_BYTES
        entry = exif[place : place + _ENTRY_BYTES]
        if len(entry) == _ENTRY_BYTES and int.from_bytes(entry[:2], order) == _ORIENTATION_TAG:
            num_bytes = _SIZES.get(int.from_bytes(entry[2:4], order), 0)
            value = int.from_bytes(entry[8 : 8 + num_bytes], order)
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def xmp_orientation(xmp: bytes) -> int:
    """The orientation in an XMP block, 1 to 8; 1 where it holds none."""
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else UPRIGHT
