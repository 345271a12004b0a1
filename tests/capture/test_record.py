from __future__ import annotations

import base64
import math
import subprocess
import sys
import zlib
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from plain_codec import encode_plainly

from capture.codec import RecordError
from capture.predictions import Predictions, read_predictions, write_predictions
from capture.record import CaptureRecord, decode, encode, to_uint8


def assert_same(first: CaptureRecord, second: CaptureRecord) -> None:
    for field in fields(CaptureRecord):
        one, two = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, np.ndarray):
            assert_array_equal(one, two)
        elif isinstance(one, float) or field.name == "probs":
            assert np.allclose(one, two, rtol=1e-6, equal_nan=True), field.name
        else:
            assert one == two, field.name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "site": "Würzburg Süd",
            "index": 255,
            "accepted": False,
            "rejected_because": "not_a_digit",
        },
        {"digit": None, "probs": (), "image": None, "rejected_because": "blank", "accepted": False},
        {"crop": None, "garbage": -math.inf},
        {"inverted": True, "passed_through": True, "num_parts": 3, "num_dropped": 9},
        {"crop": np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2]},
        {"crop": b"\x89PNG a file as sent"},
        {"crop": bytes(range(256)) * 300},  # longer than two bytes can tell
    ],
)
def test_a_record_survives_being_encoded(make_record, changes):
    record = make_record(7, **changes)
    assert_same(decode(encode(record)), record)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_crop_that_is_its_image_is_written_once(make_record, inverted):
    grey = np.arange(784, dtype=np.uint8).reshape(28, 28)
    crop = ~grey if inverted else grey
    record = make_record(image=grey, crop=crop, passed_through=True, inverted=inverted)
    encoded = encode(record)
    assert_same(decode(encoded), record)
    assert len(encoded) == len(encode(record, with_crop=False))


def test_a_crop_that_differs_from_its_image_by_one_level_is_written_out(make_record):
    image = np.arange(784, dtype=np.uint8).reshape(28, 28)
    crop = image.copy()
    crop[27, 27] ^= 1
    record = make_record(image=image, crop=crop, passed_through=True, inverted=False)
    assert_same(decode(encode(record)), record)


def test_a_crop_of_another_shape_with_the_bytes_of_its_image_is_written_out(make_record):
    image = np.arange(784, dtype=np.uint8).reshape(28, 28)
    record = make_record(
        image=image, crop=image.reshape(14, 56), passed_through=True, inverted=False
    )
    assert_same(decode(encode(record)), record)


def test_originals_can_be_left_out(make_record):
    kept = decode(encode(make_record(), with_crop=False))
    assert kept.crop is None
    assert kept.image is not None


# Written by version 2: a crop in MNIST's frame, dark on light, beside its image.
VERSION_2 = (
    "eNpjsmdkZAACMGEQz9idwMYgA4QMDA12DAwO9kAGCB8A8kG0AxABcQMQLwDiA0C8wpGZg5GhSNcoKbUo"
    "JzNP19CEAQzAem0J4AEDJ4BgVG5Ujlg5eoD/AwjMgWBUblSOWDl6AABhIRyx"
    ""
)


def test_a_record_that_version_2_wrote_is_read():
    record = decode(zlib.decompress(base64.b64decode(VERSION_2)))
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 12:16] = 200
    assert_array_equal(record.image, image)
    assert_array_equal(record.crop, 255 - image)
    assert (record.request_id, record.index, record.site, record.digit) == ("r-2", 1, "berlin-1", 1)
    assert (record.confidence, record.threshold, record.garbage) == (0.75, 0.5, -2.0)
    assert (record.accepted, record.inverted, record.passed_through) == (True, True, True)
    assert (record.guard_ms, record.queue_ms, record.total_ms) == (1.0, 4.0, 21.0)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 7])
def test_a_record_of_an_older_version_is_read(make_record, version):
    record = make_record(3)
    assert_same(decode(encode_plainly(record, version=version)), record)


@pytest.mark.parametrize("version", [0, 9])
def test_a_record_of_an_unknown_version_is_refused(make_record, version):
    with pytest.raises(RecordError, match="version"):
        decode(bytes([version]) + encode(make_record())[1:])


@pytest.mark.parametrize("crop", [np.zeros((5, 7), np.uint8), b"a file as sent"], ids=type)
@given(data=st.data())
def test_any_cut_of_a_record_is_refused(make_record, crop, data):
    whole = encode(make_record(crop=crop))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(RecordError):
        decode(whole[:cut])


@pytest.mark.parametrize(
    "changes",
    [
        {"site": "x" * 256},
        {"site": "leeds \ud800"},
        {"image": np.zeros((27, 28), np.uint8)},
        {"image": np.zeros((28, 28), np.float32)},
        {"crop": np.zeros((4, 4, 3), np.uint8)},
        {"crop": np.zeros((4, 4), np.float32)},
        {"probs": (1.0, 0.0)},
    ],
)
def test_a_malformed_record_is_refused(make_record, changes):
    with pytest.raises(RecordError):
        encode(make_record(**changes))


def test_pixels_of_the_image_are_kept_exactly():
    grey = np.arange(784, dtype=np.uint8).reshape(28, 28)
    image = (grey.astype(np.float32) / 255)[None]
    assert_array_equal(to_uint8(image), grey)


def test_predictions_come_back_as_they_were_saved(tmp_path):
    crops = [np.full((2, 3), 9, np.uint8), np.full((5, 1), 200, np.uint8)]
    saved = Predictions(
        model_version="4",
        threshold=0.8,
        garbage_threshold=1.5,
        crops=crops,
        images=np.ones((2, 28, 28), np.uint8),
        probs=np.full((2, 10), 0.1, np.float32),
        garbage=np.array([-1, -np.inf], np.float32),
        labels=np.array([3, 4]),
    )
    write_predictions(tmp_path / "p.npz", saved)
    loaded = read_predictions(tmp_path / "p.npz")
    assert loaded.model_version == "4"
    assert loaded.garbage_threshold == 1.5
    for one, two in zip(loaded.crops, crops, strict=True):
        assert_array_equal(one, two)
    assert_array_equal(loaded.garbage, saved.garbage)


def test_serving_can_import_capture_without_anything_heavy():
    code = (
        "import sys, capture.spool, capture.record;"
        "heavy = {'pandas', 'pyarrow', 'boto3', 'evidently', 'scipy', 'PIL'};"
        "sys.exit(', '.join(heavy & {name.split('.')[0] for name in sys.modules}) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
