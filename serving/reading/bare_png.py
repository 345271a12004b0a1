"""A PNG file -> the same picture without its metadata. Decodes nothing."""

from typing import Final

PNG_START: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"  # and a header of 13 bytes
IHDR_BYTES: Final = 17  # its data and checksum
PNG_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# Nothing that a decoder takes for part of the picture, and nothing that turns it.
HARMLESS_CHUNKS: Final = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"pHYs", b"tIME", b"sBIT", b"bKGD")


def bare_png(file: bytes) -> bytes | None:
    """A plain PNG without profiles, times and whatever follows its end.

    Returns:
        None for any other file: with a palette, transparency or frames, with notes (text, EXIF) of
        which one may turn the picture, with chunks unknown here, cut off, or no PNG at all.

    Source:
        W3C, "Portable Network Graphics (PNG) Specification", 5.3: length, type, data, checksum.
    """
    if not file.startswith(PNG_START):
        return None
    start = len(PNG_START) + IHDR_BYTES
    kept = [file[:start]]
    while start < len(file):
        end = start + 12 + int.from_bytes(file[start : start + 4])
        kind = file[start + 4 : start + 8]
        if kind == b"IDAT":
            kept.append(file[start:end])
        elif kind == b"IEND":
            kept.append(PNG_END)
            return b"".join(kept)
        elif kind not in HARMLESS_CHUNKS:
            return None
        start = end
    return None
