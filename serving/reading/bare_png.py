"""A PNG file -> the same image without metadata, by copying chunks. Decodes no pixels."""

from typing import Final

PNG_START: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"  # then the header of 13 bytes
IHDR_BYTES: Final = 17  # of data and checksum
PNG_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# Chunks that change no pixel and do not rotate the image, so they can be dropped.
HARMLESS_CHUNKS: Final = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"pHYs", b"tIME", b"sBIT", b"bKGD")


def bare_png(file: bytes) -> bytes | None:
    """A plain PNG without profiles, times and bytes after its end.

    Capture writes it instead of the pixels, which are many more bytes (python -m monitoring bench,
    the 128 px rows). The tests compare what it decodes to with what the model read.

    Returns:
        None for any other file: with a palette, transparency or frames; with text or EXIF, which
        may rotate the image; with unknown chunks; truncated; or no PNG.

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
