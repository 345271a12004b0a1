"""The plain twin of `capture.record.encode`: the layout written out, one value after the other."""

import struct

import numpy as np


def encode_plainly(record, *, with_crop=True, version=8):
    """Encode a record of version 8, or of an older one."""
    is_new = version > 3
    crop = record.crop if with_crop else None
    image = b"" if record.image is None else record.image.tobytes()
    flags = record.accepted + 2 * record.inverted + 4 * record.passed_through
    flags += 8 * (record.image is not None) + 16 * (len(record.probs) > 0)
    pixels, size = b"", (0, 0)
    challenger_digit = 255 if record.challenger_digit is None else record.challenger_digit
    if isinstance(crop, bytes):
        flags += 32 + 64
        pixels, size = crop, divmod(len(crop), 65_536)
    elif crop is not None and record.passed_through and is_image(record, crop):
        flags += 128
    elif crop is not None:
        flags += 32
        pixels, size = crop.tobytes(), crop.shape
    texts = [
        text.encode()
        for text in (
            *([record.read_id] if is_new else []),
            record.request_id,
            record.site,
            record.model_version,
            record.rejected_because or "",
            *([record.challenger_version or ""] if version > 5 else []),
        )
    ]
    parts = [
        struct.pack("<BB", version, flags),
        struct.pack("<?", record.is_bulk) if version > 4 else b"",
        struct.pack("<?", record.is_field) if version > 7 else b"",
        struct.pack("<?", record.challenger_accepted) if version > 5 else b"",
        struct.pack("<B", 255 if record.digit is None else record.digit),
        struct.pack("<B", challenger_digit) if version > 5 else b"",
        struct.pack("<H", min(record.crop_scale, 65_535)) if is_new else b"",
        struct.pack("<H", min(record.num_parts, 65_535)),
        struct.pack("<H", min(record.num_dropped, 65_535)),
        struct.pack("<B", record.edges_touched),
        struct.pack("<I", record.index),
        struct.pack("<q", record.time_us),
        struct.pack("<q", record.deadline_us or 0) if version > 6 else b"",
        struct.pack("<HH", *size),
        struct.pack("<f", record.aspect),
        struct.pack("<f", record.confidence),
        struct.pack("<f", record.threshold),
        struct.pack("<f", record.audit_probability) if version > 4 else b"",
        struct.pack("<f", record.challenger_confidence) if version > 5 else b"",
        struct.pack("<f", record.garbage),
        struct.pack("<f", record.guard_ms),
        struct.pack("<f", record.decode_ms),
        struct.pack("<f", record.preprocess_ms),
        struct.pack("<f", record.queue_ms),
        struct.pack("<f", record.inference_ms),
        struct.pack("<f", record.decision_ms),
        struct.pack("<f", record.total_ms),
        *(struct.pack("<B", len(text)) for text in texts),
        *texts,
        *(struct.pack("<f", prob) for prob in record.probs),
        image,
        pixels,
    ]
    return b"".join(parts)


def is_image(record, crop):
    """Whether a crop is the image, or the negative of the image where ink is light on dark."""
    if record.image is None or crop.shape != (28, 28):
        return False
    return np.array_equal(255 - crop if record.inverted else crop, record.image)
