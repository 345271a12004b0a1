"""A record's dataclass -> its encoder, decoder and builder, made once at import.

    version  flags  header: the fields in the order of their kinds  texts  probs  image  crop

Encoder and builder run for each answer, so their source is generated, as `dataclasses` does.
`python -m loadtest bench --parts stages` measures them (append_us_28); their plain twin is
tests/capture/plain_codec.py. Knows nothing about files or Parquet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from capture.fields import (
    OLDEST_VERSION,
    TEXTS,
    Field,
    Kind,
    fields_of,
    flag_bits,
    header_fields,
    header_format,
    version_of,
)

NUM_CLASSES: Final = 10
IMAGE_SIDE_PX: Final = 28
NO_DIGIT: Final = 255
MAX_COUNT: Final = 65_535  # of a `Kind.COUNT`; a larger one is stored as this

# The lowest three bits of the flags are the fields of `Kind.FLAG`.
HAS_IMAGE, HAS_PROBS, HAS_CROP, CROP_IS_FILE, CROP_IS_IMAGE = 8, 16, 32, 64, 128
_FIXED: Final = "<BB"  # version and flags
_PROBS: Final = struct.Struct(f"<{NUM_CLASSES}f")
_UINT8: Final = np.dtype(np.uint8)
_NEGATIVE: Final = bytes(range(255, -1, -1))  # grey level -> its negative
_HEADER_VALUES: Final = {  # source code of what the encoder packs; other kinds are packed as is
    Kind.DIGIT: f"{NO_DIGIT} if record.{{0}} is None else record.{{0}}",
    Kind.OPTIONAL_TIME: "record.{0} or 0",
    Kind.COUNT: f"record.{{0}} if record.{{0}} <= {MAX_COUNT} else {MAX_COUNT}",
    Kind.CROP: "height, width",
    Kind.TEXT: "len({0})",
    Kind.OPTIONAL_TEXT: "len({0})",
}

Record = TypeVar("Record")
_RecordIn = TypeVar("_RecordIn", contravariant=True)


class RecordError(ValueError):
    """A record that does not fit its layout, or bytes that are not a record of a known version."""


class Encode(Protocol[_RecordIn]):
    """Lays a record out as bytes.

    Raises:
        RecordError: a text is longer than 255 bytes or has no UTF-8, or an array has the wrong
            shape or dtype.
    """

    def __call__(self, record: _RecordIn, *, with_crop: bool = True) -> bytes:
        """Encode; without its crop where originals are not kept."""


def make_encoder(record_class: type[Record]) -> Encode[Record]:
    """Generate the encoder of a record's dataclass."""
    version = version_of(record_class)
    fields = header_fields(record_class, version)
    texts = [field for field in fields if field.kind in TEXTS]
    values = ", ".join(
        _HEADER_VALUES.get(field.kind, "record.{0}").format(field.name)
        for field in fields
        if header_format(field)
    )
    flags = " | ".join(
        f"record.{name} << {bit.bit_length() - 1}" for name, bit in flag_bits(fields).items()
    )
    names = "".join(f"{field.name}, " for field in texts)
    source = [
        "def encode(record, *, with_crop=True):",
        " probs = record.probs",
        " image, flags = image_bytes(record.image)",
        " crop, height, width, crop_flags = b'', 0, 0, 0",
        " if with_crop and record.crop is not None:",
        "  crop, height, width, crop_flags = crop_bytes(record, image)",
        f" flags |= {flags} | crop_flags | ({HAS_PROBS} if probs else 0)",
        " try:",
        *(f"  {field.name} = (record.{field.name} or '').encode()" for field in texts),
        f"  header = pack({version}, flags, {values})",
        "  packed_probs = pack_probs(*probs) if probs else b''",
        " except (struct_error, UnicodeEncodeError) as error:",
        "  raise layout_error(record, error) from error",
        f" return b''.join((header, {names}packed_probs, image, crop))",
    ]
    encode: Encode[Record] = _compile(
        source,
        pack=_header(fields).pack,
        pack_probs=_PROBS.pack,
        image_bytes=image_bytes,
        crop_bytes=crop_bytes,
        struct_error=struct.error,
        layout_error=_layout_error,
    )
    return encode


def make_builder(record_class: type[Record]) -> Callable[..., Record]:
    """Generate the function that fills a record by name from what measured its values.

    Its keywords are the fields without `of`, and each `of`. It is generated, because a call with 25
    keywords takes longer than all other work for a record.
    """
    fields = fields_of(record_class)
    arguments = dict.fromkeys(field.of or field.name for field in fields)
    source = [
        f"def build(*, {', '.join(arguments)}):",
        " record = new(record_class)",
        *(
            f" record.{field.name} = {field.of + '.' if field.of else ''}{field.name}"
            for field in fields
        ),
        " return record",
    ]
    build: Callable[..., Record] = _compile(source, new=object.__new__, record_class=record_class)
    return build


def _compile(source: list[str], **names: Any) -> Any:
    """Run generated source, which defines one function."""
    namespace = dict(names)
    exec("\n".join(source), namespace)  # noqa: S102 - of our own field names, at import
    return next(namespace[name] for name in ("encode", "build") if name in namespace)


def _header(fields: Sequence[Field]) -> struct.Struct:
    return struct.Struct(_FIXED + "".join(map(header_format, fields)))


def _layout_error(record: Any, error: Exception) -> RecordError:
    return RecordError(f"record {record.read_id!r} does not fit its layout: {error}")


def image_bytes(image: NDArray[np.uint8] | None) -> tuple[bytes, int]:
    """Return the image's bytes and its flag."""
    if image is None:
        return b"", 0
    if image.shape != (IMAGE_SIDE_PX, IMAGE_SIDE_PX) or image.dtype != _UINT8:
        raise RecordError(f"image is {image.dtype} {image.shape}; it must be uint8 (28, 28)")
    return image.tobytes(), HAS_IMAGE


def crop_bytes(record: Any, image: bytes) -> tuple[bytes, int, int, int]:
    """Return the crop's bytes, the two numbers of its size, and its flags.

    A crop in MNIST's frame equals its image or the negative of it, and is not written twice.
    """
    crop = record.crop
    if isinstance(crop, bytes):
        return crop, *divmod(len(crop), 1 << 16), HAS_CROP | CROP_IS_FILE
    if crop.ndim != 2 or crop.dtype != _UINT8:
        raise RecordError(f"crop is {crop.dtype} {crop.shape}; it must be uint8 (H, W)")
    height, width = crop.shape
    pixels = crop.tobytes()
    if record.passed_through and image and height == width == IMAGE_SIDE_PX:
        as_seen = pixels.translate(_NEGATIVE) if record.inverted else pixels
        if as_seen == image:
            return b"", 0, 0, CROP_IS_IMAGE
    return pixels, height, width, HAS_CROP


def make_decoder(record_class: type[Record]) -> Callable[[bytes], Record]:
    """Make the function that reads back what an encoder of this or an older version wrote.

    It raises RecordError where the bytes are short, long, of an unknown version or no UTF-8.
    """
    layouts, headers = _layouts(record_class)

    def decode(data: bytes) -> Record:
        version = data[0] if data else None
        if version not in headers or len(data) < headers[version].size:
            raise RecordError(
                f"{len(data)} bytes starting {data[:1]!r}: not a record of version {(*headers,)}"
            )
        _, flags, *numbers = headers[version].unpack_from(data)
        reader = _Reader(data, headers[version].size)
        try:
            return record_class(**_values(layouts[version], flags, numbers, reader))
        except UnicodeDecodeError as error:
            raise RecordError(f"a text of the record is not UTF-8: {error}") from error

    return decode


def make_size_reader(record_class: type[Record]) -> Callable[[bytes], int | None]:
    """Make the function that tells how many bytes a record has, from its start alone.

    It returns None where the start is short or of an unknown version.
    """
    layouts, headers = _layouts(record_class)

    def described_bytes(data: bytes) -> int | None:
        version = data[0] if data else None
        if version not in headers or len(data) < headers[version].size:
            return None
        _, flags, *numbers = headers[version].unpack_from(data)
        values = _header_values(layouts[version], numbers)
        num_bytes: int = headers[version].size
        num_bytes += sum(values[field.name][0] for field in layouts[version] if field.kind in TEXTS)
        num_bytes += _PROBS.size if flags & HAS_PROBS else 0
        num_bytes += IMAGE_SIDE_PX**2 if flags & HAS_IMAGE else 0
        height, width = values["crop"]
        if flags & HAS_CROP:
            num_bytes += height << 16 | width if flags & CROP_IS_FILE else height * width
        return num_bytes

    return described_bytes


def _layouts(record_class: type) -> tuple[dict[int, list[Field]], dict[int, struct.Struct]]:
    """Version -> its fields, and version -> its header."""
    versions = range(OLDEST_VERSION, version_of(record_class) + 1)
    layouts = {version: header_fields(record_class, version) for version in versions}
    return layouts, {version: _header(fields) for version, fields in layouts.items()}


def _header_values(fields: Sequence[Field], numbers: Sequence[Any]) -> dict[str, Any]:
    """Field -> the numbers that the header has of it."""
    rest = iter(numbers)
    return {field.name: tuple(next(rest) for _ in header_format(field)) for field in fields}


def _values(
    fields: Sequence[Field], flags: int, numbers: Sequence[Any], reader: _Reader
) -> dict[str, Any]:
    """Field -> its value, from the header's numbers and what follows the header."""
    values = _header_values(fields, numbers)
    bits = flag_bits(fields)
    for field in fields:
        header = values[field.name]
        if field.name in bits:
            values[field.name] = bool(flags & bits[field.name])
        elif field.kind in TEXTS:
            text = reader.take(*header).decode()
            values[field.name] = text or None if field.kind is Kind.OPTIONAL_TEXT else text
        elif field.kind is Kind.DIGIT:
            values[field.name] = None if header == (NO_DIGIT,) else header[0]
        elif field.kind is Kind.OPTIONAL_TIME:
            values[field.name] = header[0] or None
        elif len(header) == 1:
            values[field.name] = header[0]
    values["probs"] = _PROBS.unpack(reader.take(_PROBS.size)) if flags & HAS_PROBS else ()
    image = reader.pixels(IMAGE_SIDE_PX, IMAGE_SIDE_PX) if flags & HAS_IMAGE else None
    height, width = values["crop"]
    values["image"], values["crop"] = image, None
    if flags & HAS_CROP:
        is_file = flags & CROP_IS_FILE
        crop = reader.take(height << 16 | width) if is_file else reader.pixels(height, width)
        values["crop"] = crop
    elif flags & CROP_IS_IMAGE and image is not None:
        values["crop"] = ~image if values["inverted"] else image
    reader.finish()
    return values


class _Reader:
    """Reads a record's bytes in order; refuses to read past their end."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    def take(self, length: int) -> bytes:
        end = self._position + length
        if end > len(self._data):
            raise RecordError(f"record ends at byte {len(self._data)}, before byte {end}")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def pixels(self, height: int, width: int) -> NDArray[np.uint8]:
        return np.frombuffer(self.take(height * width), dtype=np.uint8).reshape(height, width)

    def finish(self) -> None:
        if self._position != len(self._data):
            raise RecordError(
                f"record of {len(self._data)} bytes, but its header describes {self._position}"
            )
