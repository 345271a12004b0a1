"""The prediction and the bounds behind it, by counts; CPU time is for tests/fuzz/decode_time.py."""

import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model.decode import decode
from model.decode_cost import MAX_DECODE_MS, predict_decode_ms
from model.errors import CropError, CropSizeError, TooManyParts
from model.jpeg_file import walk_jpeg
from model.metered import MeteredFile
from model.png_file import walk_png
from tests.fuzz.costly_seeds import SEEDS, CostlyJpeg, CostlyPng


def encode(picture, file_format, **options):
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"hello", bytes(999)])
def test_what_is_no_picture_is_predicted_cheap(data):
    assert 0 < predict_decode_ms(data) < 0.1


def test_a_prediction_is_never_over_the_limit():
    small = [replace(one, width=300, height=300, empty_bytes=0) for one in SEEDS[:4]]
    for costly in (*small, CostlyJpeg(num_scans=20, noise=0), CostlyPng(colour=6, content="flat")):
        assert 0 < predict_decode_ms(costly.encode()) <= MAX_DECODE_MS


def test_a_scanner_s_crop_is_charged_little():
    noise = np.random.default_rng(0).normal(230, 8, (128, 128)).clip(0, 255).astype(np.uint8)
    assert predict_decode_ms(encode(Image.fromarray(noise), "PNG")) < 0.3
    assert predict_decode_ms(encode(Image.fromarray(noise), "JPEG")) < 0.4


@pytest.mark.parametrize(
    ("costlier", "cheaper"),
    [
        (CostlyPng(width=1000, height=1000), CostlyPng(width=500, height=1000)),
        (CostlyPng(width=400, height=400, colour=6), CostlyPng(width=400, height=400)),
        (CostlyPng(width=400, height=400, depth=16), CostlyPng(width=400, height=400)),
        (CostlyPng(width=400, height=400, interlaced=True), CostlyPng(width=400, height=400)),
        (CostlyPng(width=400, height=400, num_extra=1000), CostlyPng(width=400, height=400)),
        (CostlyJpeg(width=400, num_scans=15), CostlyJpeg(width=400)),
        (CostlyJpeg(width=400), CostlyJpeg(width=400, progressive=False)),
        (CostlyJpeg(width=400, mode="CMYK"), CostlyJpeg(width=400, mode="L")),
    ],
)
def test_what_takes_longer_is_predicted_to(costlier, cheaper):
    assert predict_decode_ms(costlier.encode()) > predict_decode_ms(cheaper.encode())


def test_a_jpeg_of_too_many_scans_of_too_many_pixels_is_refused_with_the_limit():
    with pytest.raises(CropSizeError, match=r"2000x2000 px in 20 scans .* allowed is 150: save"):
        decode(CostlyJpeg(mode="CMYK", noise=0, num_scans=20).encode())


@pytest.mark.parametrize("kind", ["stored", "fixed", "small tables", "large tables"])
def test_empty_blocks_before_the_pixels_do_no_harm_while_they_are_few(kind):
    plain = CostlyPng(width=40, height=30)
    crop = decode(replace(plain, empty=kind, empty_bytes=900).encode())
    assert np.array_equal(crop, decode(plain.encode()))


def test_a_file_is_read_no_further_when_its_time_is_over(monkeypatch):
    now = [1.0]
    monkeypatch.setattr("model.metered.time.thread_time", lambda: now[0])
    file = MeteredFile(b"abcdef", 2.0)
    assert file.read(3) == b"abc"
    now[0] = 2.5
    with pytest.raises(CropSizeError, match="150 ms"):
        file.read(3)


def test_a_flood_of_empty_blocks_is_stopped_early(monkeypatch):
    """Each look at the clock finds a millisecond gone, as reading a kilobyte of the flood takes."""
    ticks = iter(range(10**9))
    monkeypatch.setattr("model.metered.time.thread_time", lambda: next(ticks) / 1e3)
    reads = []
    whole_read = io.BytesIO.read
    monkeypatch.setattr(
        MeteredFile, "read", lambda self, size=-1: reads.append(size) or read(self, size)
    )

    def read(self, size):
        if next(ticks) / 1e3 > self._end_s:
            raise CropSizeError("over")
        return whole_read(self, size)

    with pytest.raises(CropError):
        decode(CostlyPng(width=1000, height=1000, content="flat", empty_bytes=900_000).encode())
    assert len(reads) < 2 * MAX_DECODE_MS


def test_looking_at_a_file_of_many_parts_ends_early_and_takes_it_for_costly():
    text = b"\0\0\0\0tEXt" + zlib.crc32(b"tEXt").to_bytes(4)
    png, jpeg = (encode(Image.new("L", (64, 64), 200), kind) for kind in ("PNG", "JPEG"))
    for walk, whole, start, part in (
        (walk_png, png, 33, text),
        (walk_jpeg, jpeg, 2, b"\xff\xfe\0\2"),
    ):
        flood = whole[:start] + 4_900 * part + whole[start:]
        with pytest.raises(TooManyParts, match="more than 100"):
            walk(flood, 100)
        assert decode(flood).shape == (64, 64)
        assert predict_decode_ms(flood) > 5


def test_packed_bytes_that_hold_no_pixel_are_charged_as_such():
    """A flood of tables takes 110 ns a byte (python -m tests.fuzz.decode_time)."""
    plain = CostlyPng(width=900, height=900, content="flat")
    flood = replace(plain, empty="large tables", empty_bytes=1_500_000)
    hidden_ms = predict_decode_ms(flood.encode()) - predict_decode_ms(plain.encode())
    assert 75 < hidden_ms < 150
