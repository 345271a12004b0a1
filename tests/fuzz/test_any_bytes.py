"""Any bytes give a crop, an image, or an error of the caller's."""

import io
import json
import struct
import zlib

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from model.decode import MAX_AREA_PX, MAX_SIDE_PX, MIN_SIDE_PX, decode
from model.errors import ArtifactRefused, BlankCrop, CropError
from model.onnx_inspect import inspect
from model.preprocess import frame
from serving.api.codes import Pattern, PatternError, rank_codes
from serving.edge.key_ring import KeysError, parse_keys

MANY = settings(max_examples=300, deadline=None, derandomize=True)
MAGICS = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"]


def assert_is_crop_or_error(data):
    try:
        crop = decode(data)
    except CropError:
        return
    assert crop.dtype == np.uint8
    assert crop.ndim == 2
    assert MIN_SIDE_PX <= min(crop.shape) <= max(crop.shape) <= MAX_SIDE_PX
    assert crop.size <= MAX_AREA_PX


@MANY
@given(st.binary(max_size=2000))
@example(b"")
def test_any_bytes_are_a_crop_or_a_crop_error(data):
    assert_is_crop_or_error(data)


@MANY
@given(st.sampled_from(MAGICS), st.binary(max_size=2000))
def test_any_bytes_behind_a_magic_are_a_crop_or_a_crop_error(magic, data):
    assert_is_crop_or_error(magic + data)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


chunks = st.builds(
    chunk,
    st.sampled_from(
        [b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT",
         b"pHYs", b"sBIT", b"IDAT", b"IHDR", b"IEND", b"xxxx"]
    ),
    st.binary(max_size=60),
)  # fmt: skip


@MANY
@given(
    width=st.integers(0, 70) | st.sampled_from([4096, 4097, 2**31 - 1, 2**32 - 1]),
    height=st.integers(0, 70),
    depth=st.sampled_from([1, 2, 4, 8, 16, 3]),
    colour=st.sampled_from([0, 2, 3, 4, 6, 5]),
    interlace=st.integers(0, 2),
    before=st.lists(chunks, max_size=4),
    rows=st.binary(max_size=600),
    after=st.lists(chunks, max_size=2),
)
def test_any_png_is_a_crop_or_a_crop_error(
    width, height, depth, colour, interlace, before, rows, after
):
    """Complete PNG files with correct checksums, which random bytes never have."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    parts = [
        MAGICS[0],
        chunk(b"IHDR", header),
        *before,
        chunk(b"IDAT", zlib.compress(rows * 8)),
        *after,
        chunk(b"IEND", b""),
    ]
    assert_is_crop_or_error(b"".join(parts))


@MANY
@given(data=st.data(), file_format=st.sampled_from(["PNG", "JPEG"]))
def test_a_real_file_with_bytes_changed_is_a_crop_or_a_crop_error(data, file_format):
    stream = io.BytesIO()
    ramp = np.add.outer(np.arange(24), np.arange(20)).astype(np.uint8) * 5
    Image.fromarray(ramp).save(stream, file_format)
    whole = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert_is_crop_or_error(bytes(whole))


crops_of_any_kind = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(MIN_SIDE_PX, 60), st.integers(MIN_SIDE_PX, 60)),
    elements=st.integers(0, 255) | st.sampled_from([0, 255]),
)


@MANY
@given(crops_of_any_kind)
def test_any_crop_is_an_image_or_blank(crop):
    try:
        framed = frame(crop)
    except BlankCrop:
        return
    assert framed.image.shape == (1, 28, 28)
    assert framed.image.dtype == np.float32
    assert np.isfinite(framed.image).all()
    assert framed.image.min() >= 0.0
    assert framed.image.max() <= 1.0
    assert framed.num_parts >= 1
    assert 0 <= framed.edges_touched <= 4


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_onnx_file_or_refused(data):
    try:
        inspect(data)
    except ArtifactRefused:
        return


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(position=st.integers(0, 10**9), value=st.integers(0, 255))
def test_an_onnx_file_with_a_byte_changed_is_let_through_or_refused(tiny_model, position, value):
    whole = bytearray(tiny_model.SerializeToString())
    whole[position % len(whole)] = value
    try:
        inspect(bytes(whole))
    except ArtifactRefused:
        return


@MANY
@given(st.text(max_size=80) | st.from_regex(r"[\[\]()|*+?{}0-9,^$.\\-]{0,40}", fullmatch=True))
def test_any_text_is_a_pattern_or_refused(text):
    try:
        pattern = Pattern(text)
    except PatternError:
        return
    assert pattern.matches("12345") in (True, False)


probabilities = hnp.arrays(np.float64, (10,), elements=st.floats(0, 1)).filter(
    lambda row: row.sum() > 0
)


@MANY
@given(st.lists(probabilities, min_size=2, max_size=12))
def test_any_probabilities_rank_codes_that_sum_to_at_most_1(rows):
    probs = [(row / row.sum()).tolist() for row in rows]
    ranked = rank_codes(probs, top_k=10).candidates
    shares = [one.probability for one in ranked]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1 + 1e-9
    assert all(len(one.code) == len(rows) for one in ranked)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@MANY
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "site": json_values,
                "sha256": json_values | st.just("ab" * 32),
                "scopes": json_values,
            },
            optional={"expires": json_values},
        ),
        max_size=3,
    )
)
def test_any_key_file_is_keys_or_refused(entries):
    try:
        parse_keys(json.dumps({"keys": entries}), 0.0)
    except KeysError:
        return
