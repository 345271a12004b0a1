"""No record, no answer: what is answered with 200 is on disk."""

import asyncio
import gc
import io
import shutil
import threading
import zlib
from dataclasses import asdict
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
from asgi import form
from numpy.testing import assert_array_equal
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from capture.archive import Window
from capture.codec import RecordError
from capture.compaction import compact
from capture.record import to_uint8
from capture.sampling import read_sample
from capture.segments import read_segment
from capture.ship import ship_once
from capture.spool import Spool, SpoolError
from capture.store import open_store
from model.decision import Decision, Policy
from model.decode import decode
from model.framed import Framed
from model.png_file import bare_png
from model.preprocess import preprocess
from serving.config import Settings
from serving.messages import Reading, Request
from serving.reading.batch_reading import ReadRequest
from serving.reading.capture_sink import CaptureSink
from serving.served_model import ServedModel


def records_in(folder):
    found = []
    for path in sorted(folder.iterdir()):
        found += list(read_segment(path))
    return found


async def test_what_is_answered_is_on_disk_before_its_answer(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    reply = await client.post("/v1/digit", crops[0].png, x_request_id="r-1")
    (record,) = records_in(tmp_path)
    assert record.request_id == "r-1"
    assert record.digit == reply.json["digit"]
    assert record.confidence == pytest.approx(reply.json["confidence"])
    assert record.model_version == "tiny-1"
    assert record.site == "local"
    assert_array_equal(pixels_of(record), crops[0].pixels)


@pytest.mark.parametrize(
    ("path", "num_files", "is_bulk"),
    [("/v1/digits", 1, False), ("/v1/digits", 2, True), ("/v1/postcode", 5, False)],
)
async def test_records_say_whether_the_request_was_bulk(
    serve, crops, tmp_path, path, num_files, is_bulk
):
    client = await serve(capture_dir=tmp_path)
    kind, body = form(*(crop.png for crop in crops[:num_files]))
    await client.post(path, body, kind)
    assert [one.is_bulk for one in records_in(tmp_path)] == [is_bulk] * num_files


async def test_a_letters_deadline_is_captured_from_its_arrival(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    assert (await client.post("/v1/digit", crops[0].png, x_deadline_ms="5000")).status == 200
    assert (await client.post("/v1/digit", crops[0].png)).status == 200
    first, second = sorted(records_in(tmp_path), key=lambda record: record.time_us)
    answered_ms = first.total_ms
    assert (first.deadline_us - first.time_us) / 1e3 + answered_ms == pytest.approx(5000, abs=1)
    assert second.deadline_us is None


@pytest.mark.parametrize("sent", ["0", "-1", "3600001", "99999999", "1.5", "soon", ""])
async def test_a_deadline_that_is_no_time_up_to_an_hour_is_400(serve, crops, tmp_path, sent):
    client = await serve(capture_dir=tmp_path)
    reply = await client.post("/v1/digit", crops[0].png, x_deadline_ms=sent)
    assert reply.status == 400
    assert "3600000" in reply.json["detail"]
    assert not records_in(tmp_path)


async def test_a_large_png_is_kept_as_its_file_without_metadata(serve, tmp_path, large):
    client = await serve(capture_dir=tmp_path)
    sent = io.BytesIO()
    Image.fromarray(large).save(sent, "PNG", icc_profile=b"Postmaster's colours", dpi=(200, 200))
    file = sent.getvalue() + b"behind the end: Postmaster"
    assert (await client.post("/v1/digit", file)).status == 200
    (record,) = records_in(tmp_path)
    assert isinstance(record.crop, bytes)
    assert b"iCCP" in file
    for gone in (b"iCCP", b"pHYs", b"Postmaster"):
        assert gone not in record.crop
    assert_array_equal(pixels_of(record), large)


@pytest.mark.parametrize("orientation", [1, 3, 6])
async def test_a_png_with_text_is_kept_upright_without_it(serve, tmp_path, large, orientation):
    client = await serve(capture_dir=tmp_path)
    notes, exif, sent = PngInfo(), Image.Exif(), io.BytesIO()
    notes.add_text("Author", "A. Postmaster")
    exif[0x0112] = orientation
    Image.fromarray(large).save(sent, "PNG", pnginfo=notes, exif=exif)
    assert (await client.post("/v1/digit", sent.getvalue())).status == 200
    (record,) = records_in(tmp_path)
    assert isinstance(record.crop, bytes) == (orientation == 1)
    assert b"Postmaster" not in bytes(record.crop)
    assert_array_equal(pixels_of(record), decode(sent.getvalue()))


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGB", "RGBA"])
async def test_a_file_that_is_kept_shows_what_the_model_read(serve, tmp_path, large, mode):
    client = await serve(capture_dir=tmp_path)
    sent = io.BytesIO()
    Image.fromarray(large).convert(mode).save(sent, "PNG")
    assert (await client.post("/v1/digit", sent.getvalue())).status == 200
    (record,) = records_in(tmp_path)
    assert_array_equal(pixels_of(record), decode(sent.getvalue()))


def chunk(kind, data=b""):
    checksum = zlib.crc32(kind + data).to_bytes(4)
    return len(data).to_bytes(4) + kind + data + checksum


def chunks_of(file):
    start, found = 8, []
    while start < len(file):
        length = int.from_bytes(file[start : start + 4])
        found.append((file[start + 4 : start + 8], file[start + 8 : start + 8 + length]))
        start += 12 + length
    return found


FRAME = bytes(4) + (150).to_bytes(4) * 2 + bytes(8) + b"\0\1\0\1\0\0"


@pytest.mark.parametrize(
    "changed",
    [
        lambda header, data: [("IHDR", header), ("IDAT", data[:99]), ("DDAT", data[99:])],
        lambda header, data: [("IHDR", header), ("tRNS", b"\0\xff"), ("IDAT", data)],
        lambda header, data: [("IHDR", header), ("PLTE", b"Postmaster!!"), ("IDAT", data)],
        lambda header, data: [("IHDR", header), ("IDAT", data), ("IHDR", header)],
        lambda header, data: [("IHDR", header + b"more"), ("IDAT", data)],
    ],
    ids=["DDAT", "tRNS", "palette", "two headers", "long header"],
)
def test_a_png_with_anything_else_in_it_is_not_kept_as_a_file(large, changed):
    plain = io.BytesIO()
    Image.fromarray(large).save(plain, "PNG")
    parts = dict(chunks_of(plain.getvalue()))
    made = changed(parts[b"IHDR"], parts[b"IDAT"])
    body = b"".join(chunk(kind.encode(), data) for kind, data in made)
    assert bare_png(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND")) is None


@pytest.mark.parametrize(
    "changed",
    [
        lambda header, data: [("IHDR", header), ("fcTL", FRAME), ("IDAT", data)],
        lambda header, data: [("IHDR", header), ("IDAT", data), ("tRNS", b"\0\xff")],
        lambda header, data: [("IHDR", header), ("ruSt", b"Postmaster"), ("IDAT", data)],
        lambda header, data: [("IHDR", header), ("IDAT", data[:99]), ("IDAT", data[99:])],
    ],
    ids=["frame", "tRNS after the pixels", "unknown", "two chunks of pixels"],
)
def test_what_changes_no_pixel_is_left_out_of_the_file_that_is_kept(large, changed):
    plain = io.BytesIO()
    Image.fromarray(large).save(plain, "PNG")
    parts = dict(chunks_of(plain.getvalue()))
    made = changed(parts[b"IHDR"], parts[b"IDAT"])
    body = b"".join(chunk(kind.encode(), data) for kind, data in made)
    sent = b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND")
    assert bare_png(sent) == plain.getvalue()
    assert_array_equal(decode(sent), large)


def test_data_in_the_end_chunk_is_cut_off(large):
    plain = io.BytesIO()
    Image.fromarray(large).save(plain, "PNG")
    whole = plain.getvalue()
    assert bare_png(whole[:-12] + chunk(b"IEND", b"Postmaster")) == whole


async def test_a_large_jpeg_is_kept_as_pixels(serve, tmp_path, large):
    client = await serve(capture_dir=tmp_path)
    sent = io.BytesIO()
    Image.fromarray(large).save(sent, "JPEG")
    assert (await client.post("/v1/digit", sent.getvalue(), "image/jpeg")).status == 200
    (record,) = records_in(tmp_path)
    assert_array_equal(record.crop, decode(sent.getvalue()))


def test_a_truncated_png_is_not_kept_as_a_file(large):
    whole = io.BytesIO()
    Image.fromarray(large).save(whole, "PNG")
    assert bare_png(whole.getvalue()) == whole.getvalue()
    for end in range(len(whole.getvalue()) - 4):
        assert bare_png(whole.getvalue()[:end]) is None


@pytest.fixture
def large(crops):
    """A crop that is more to write as pixels than as a file."""
    return np.asarray(Image.fromarray(crops[0].pixels).resize((150, 150)))


def pixels_of(record):
    return decode(record.crop) if isinstance(record.crop, bytes) else record.crop


async def test_packed_pixels_are_kept_as_pixels(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    packed = np.stack([crops[0].pixels[:20, :20], crops[1].pixels[:20, :20]])
    body = io.BytesIO()
    np.save(body, packed)
    await client.post("/v1/digits", body.getvalue(), "application/x-npy")
    records = records_in(tmp_path)
    assert [one.index for one in records] == [0, 1]
    for one, crop in zip(records, packed, strict=True):
        assert (one.crop == crop).all()


async def test_each_crop_of_a_bulk_request_is_a_record(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    kind, body = form(crops[0].png, crops[1].png[:40], crops[2].png)
    await client.post("/v1/digits", body, kind)
    assert [one.index for one in records_in(tmp_path)] == [0, 2]


async def test_a_crop_that_cannot_be_captured_is_503_and_never_200(
    serve, crops, tmp_path, monkeypatch
):
    client = await serve(capture_dir=tmp_path)

    def fail(spool, frames):
        raise SpoolError("no space left on the spool's disk")

    monkeypatch.setattr(Spool, "append_frames", fail)
    replies = await post_at_once(client, crops[:5])
    assert [reply.status for reply in replies] == [503] * 5
    assert all("no space left" in reply.json["detail"] for reply in replies)


def post_at_once(client, crops):
    return asyncio.gather(
        *(client.post("/v1/digit", crop.png, x_request_id=f"r-{n}") for n, crop in enumerate(crops))
    )


async def test_crops_read_together_are_written_together(serve, crops, tmp_path, monkeypatch):
    client = await serve(capture_dir=tmp_path)
    sizes = note_sizes(monkeypatch)
    replies = await post_at_once(client, crops[:8])
    assert [reply.status for reply in replies] == [200] * 8
    assert max(sizes) > 1
    records = {one.request_id: one for one in records_in(tmp_path)}
    assert sorted(records) == [f"r-{n}" for n in range(8)]
    for number, reply in enumerate(replies):
        assert records[f"r-{number}"].digit == reply.json["digit"]
        assert_array_equal(pixels_of(records[f"r-{number}"]), crops[number].pixels)


async def test_a_record_that_does_not_fit_fails_its_own_request_alone(
    serve, crops, tmp_path, monkeypatch
):
    client = await serve(capture_dir=tmp_path)
    frame = Spool.frame

    def refuse_one(spool, record):
        if record.request_id == "r-1":
            raise RecordError("a string is too long")
        return frame(spool, record)

    monkeypatch.setattr(Spool, "frame", refuse_one)
    replies = await post_at_once(client, crops[:3])
    assert [reply.status for reply in replies] == [200, 500, 200]
    records = {one.request_id: one for one in records_in(tmp_path)}
    assert sorted(records) == ["r-0", "r-2"]
    assert_array_equal(pixels_of(records["r-2"]), crops[2].pixels)
    assert (records["r-2"].image == to_uint8(preprocess(crops[2].pixels))).all()


def note_sizes(monkeypatch):
    """How many records each write takes."""
    sizes = []
    append_frames = Spool.append_frames

    def noting(spool, frames):
        sizes.append(len(frames))
        append_frames(spool, frames)

    monkeypatch.setattr(Spool, "append_frames", noting)
    return sizes


async def test_a_slow_flush_delays_only_the_requests_that_wait_for_it(
    serve, crops, tmp_path, monkeypatch
):
    client = await serve(capture_dir=tmp_path, capture_fsync="true")
    sizes = note_sizes(monkeypatch)
    may_end = threading.Event()
    append_frames = Spool.append_frames

    def slow(spool, frames):
        may_end.wait(timeout=10)
        append_frames(spool, frames)

    monkeypatch.setattr(Spool, "append_frames", slow)
    first = asyncio.ensure_future(client.post("/v1/digit", crops[0].png))
    await asyncio.sleep(0.1)
    others = asyncio.ensure_future(post_at_once(client, crops[1:4]))
    assert (await client.get("/livez")).status == 200
    assert not first.done()
    await asyncio.sleep(0.1)
    may_end.set()
    assert (await first).status == 200
    assert [reply.status for reply in await others] == [200] * 3
    assert sizes == [1, 3]


async def test_a_cancelled_request_does_not_lose_other_records(serve, crops, tmp_path, monkeypatch):
    client = await serve(capture_dir=tmp_path)
    loop = asyncio.get_running_loop()
    has_left = threading.Event()
    append_frames = Spool.append_frames

    def leave_first(spool, frames):
        loop.call_soon_threadsafe(lambda: (leaving.cancel(), has_left.set()))
        has_left.wait(timeout=10)
        append_frames(spool, frames)

    monkeypatch.setattr(Spool, "append_frames", leave_first)
    leaving = asyncio.ensure_future(client.post("/v1/digit", crops[0].png, x_request_id="left"))
    staying = asyncio.ensure_future(client.post("/v1/digit", crops[1].png, x_request_id="stayed"))
    assert (await staying).status == 200
    assert leaving.cancelled()
    assert "stayed" in [one.request_id for one in records_in(tmp_path)]


async def test_a_failed_write_leaves_nothing_for_the_garbage_collector(
    serve, crops, tmp_path, monkeypatch
):
    client = await serve(capture_dir=tmp_path)

    def fail(segment, buffers, num_bytes, *, fsync):
        raise OSError("no space left on the device")

    monkeypatch.setattr("capture.spool.OpenSegment.write", fail)
    kind, body = form(crops[0].png, crops[0].png)
    await client.post("/v1/digit", crops[0].png)  # whatever the first of a kind leaves
    await client.post("/v1/digits", body, kind)
    gc.collect()
    gc.disable()
    try:
        for crop in crops[1:6]:
            assert (await client.post("/v1/digit", crop.png)).status == 503
            kind, body = form(crop.png, crop.png)
            assert (await client.post("/v1/digits", body, kind)).status == 503
        assert gc.collect() == 0
    finally:
        gc.enable()


async def test_each_of_20_requests_with_one_id_has_its_row(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path / "spool")
    replies = [
        await client.post("/v1/digit", crop.png, x_request_id="scanner-7") for crop in crops[:20]
    ]
    read_ids = sorted(reply.json["read_id"] for reply in replies)
    copy = shutil.copytree(tmp_path / "spool", tmp_path / "copy")
    store = open_store(str(tmp_path / "store"))
    ship_once(copy, store)
    (key,) = store.find("records/")
    day = date.fromisoformat(key.split("/")[1].removeprefix("day="))
    compact(store, day)
    rows = read_sample(store, Window(day, day), columns=[], max_rows=100, min_rows_per_site=0).rows
    assert sorted(rows["read_id"]) == read_ids
    assert len(set(read_ids)) == 20
    assert set(rows["request_id"]) == {"scanner-7"}


async def test_a_removed_segment_is_503_once_and_then_a_record_again(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    await client.post("/v1/digit", crops[0].png)
    for path in tmp_path.iterdir():
        path.unlink()
    reply = await client.post("/v1/digit", crops[1].png)
    assert reply.status == 503
    assert "is gone" in reply.json["detail"]
    reply = await client.post("/v1/digit", crops[2].png)
    assert reply.status == 200
    assert [one.read_id for one in records_in(tmp_path)] == [reply.json["read_id"]]


async def test_a_crop_that_is_too_large_to_keep_is_recorded_reduced(serve, tmp_path, crops):
    client = await serve(capture_dir=tmp_path)
    sent = io.BytesIO()
    Image.fromarray(crops[0].pixels).resize((900, 900)).save(sent, "PNG")
    assert (await client.post("/v1/digit", sent.getvalue())).status == 200
    (record,) = records_in(tmp_path)
    assert record.crop_scale == 2
    assert record.crop.shape == (450, 450)


@pytest.mark.parametrize("is_negative", [False, True])
async def test_a_crop_in_mnist_s_frame_is_on_disk_once(serve, crops, tmp_path, is_negative):
    client = await serve(capture_dir=tmp_path)
    pixels = to_uint8(preprocess(crops[0].pixels))
    if is_negative:
        pixels = 255 - pixels
    sent = io.BytesIO()
    Image.fromarray(pixels).save(sent, "PNG")
    assert (await client.post("/v1/digit", sent.getvalue())).status == 200
    (record,) = records_in(tmp_path)
    assert record.passed_through
    assert_array_equal(record.crop, pixels)
    assert_array_equal(record.image, to_uint8(preprocess(pixels)))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * pixels.size


def test_each_field_of_a_record_has_its_own_value(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.reading.capture_sink.time.perf_counter", lambda: 100.25)
    monkeypatch.setattr("serving.reading.capture_sink.time.time_ns", lambda: 1_000_000_007_000)
    image = np.full((1, 28, 28), 0.2, np.float32)
    crop = np.full((30, 40), 5, np.uint8)
    decision = Decision(7, 0.8125, "low_confidence", [0.0625] * 9 + [0.4375], list(range(10)))
    framed = Framed(image, True, False, 2, 3, 0.75, 1)
    reading = Reading(crop, framed, image, decision, -1.5, 2.0, 3.0, 4.0, 5.0)
    policy = Policy(temperature=1.0, threshold=0.875, garbage_threshold=0.0)
    model = ServedModel(SimpleNamespace(version="9"), policy, None, 0.0)
    request = Request(
        "r-1",
        "read-1",
        "berlin-1",
        "image/png",
        {},
        b"",
        b"",
        started=100.0,
        guard_ms=1.0,
        model=model,
        deadline_ms=3000,
    )
    sink = CaptureSink(Settings(capture_dir=tmp_path))
    assert sink.persist([ReadRequest(crop, request, 6, model)], [reading]) == {}
    sink.close()
    (record,) = records_in(tmp_path)
    assert_array_equal(record.image, np.full((28, 28), 51))
    assert_array_equal(record.crop, crop)
    assert {
        name: value for name, value in asdict(record).items() if name not in ("image", "crop")
    } == {
        "read_id": "read-1",
        "request_id": "r-1",
        "index": 6,
        "time_us": 1_000_000_007,
        "deadline_us": 1_000_000_007 + 3_000_000 - 250_000,
        "site": "berlin-1",
        "model_version": "9",
        "digit": 7,
        "confidence": 0.8125,
        "accepted": False,
        "rejected_because": "low_confidence",
        "crop_scale": 1,
        "threshold": 0.875,
        "audit_probability": 0.0,
        "is_bulk": False,
        "is_field": False,
        "garbage": -1.5,
        "probs": (0.0625,) * 9 + (0.4375,),
        "inverted": True,
        "passed_through": False,
        "num_parts": 2,
        "num_dropped": 3,
        "aspect": 0.75,
        "edges_touched": 1,
        "guard_ms": 1.0,
        "decode_ms": 2.0,
        "preprocess_ms": 3.0,
        "queue_ms": 250.0 - 15.0,
        "inference_ms": 4.0,
        "decision_ms": 5.0,
        "total_ms": 250.0,
        "challenger_version": None,
        "challenger_digit": None,
        "challenger_confidence": 0.0,
        "challenger_accepted": False,
    }


async def test_a_refused_crop_is_not_captured(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    await client.post("/v1/digit", crops[0].png[:40])
    assert records_in(tmp_path) == []


async def test_originals_are_not_captured_when_turned_off(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path, capture_originals="false")
    await client.post("/v1/digit", crops[0].png)
    (record,) = records_in(tmp_path)
    assert record.crop is None
    assert record.image is not None


async def test_a_folder_that_cannot_be_written_prevents_the_start(serve, tmp_path):
    path = tmp_path / "file"
    path.write_text("in the way")
    with pytest.raises(SpoolError):
        await serve(capture_dir=path)


async def test_without_a_folder_no_spool_is_opened(serve, crops, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a spool was opened")

    monkeypatch.setattr("serving.reading.capture_sink.Spool", refuse)
    client = await serve()
    assert (await client.post("/v1/digit", crops[0].png)).status == 200


async def test_accepted_crops_are_marked_with_their_probability_and_rejected_ones_never(
    serve, crops, tmp_path
):
    client = await serve(capture_dir=tmp_path, audit_frac=1.0)
    blank = io.BytesIO()
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(blank, "PNG")
    kind, body = form(*(one.png for one in crops), blank.getvalue())
    await client.post("/v1/digits", body, kind)
    found = records_in(tmp_path)
    assert {one.accepted for one in found} == {True, False}
    assert all(one.audit_probability == one.accepted for one in found)
