"""What a field leaves behind, and whom it makes wait."""

import asyncio
import itertools
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from written_fields import BLANK, NOISE, grey_of, png_of, write

from capture.record import CaptureRecord
from capture.rows import to_table
from capture.segments import read_segment
from capture.site_states import Change, SiteStates, held
from capture.spool import Spool, SpoolError
from console.keying.choosing import choose_letter
from console.keying.feeder import _seen
from console.office.rereading import KnownModel, reread
from model.artifact import CHAMPION, load
from model.classifier import Classifier
from model.decode import decode
from model.decode_cost import predict_decode_ms, predict_px
from model.field import split_field
from serving.reading import field_reader
from serving.reading.crop_cost import COSTLY_S, split_s

CODE = "28195"
PATIENCE_S = 20


def records_in(folder):
    found = [one for path in sorted(folder.glob("*.*")) for one in read_segment(path)]
    return [one for one in found if isinstance(one, CaptureRecord)]


@pytest.fixture
async def client(serve, tmp_path):
    return await serve(champion=CHAMPION, error_target=0.005, capture_dir=tmp_path, audit_frac=0)


async def test_each_digit_is_recorded_as_a_crop_of_the_read(client, tmp_path):
    reply = await client.post(
        "/v1/field?digits=5", write(CODE), x_request_id="r-1", x_deadline_ms="5000"
    )
    records = records_in(tmp_path)
    assert [one.index for one in records] == [0, 1, 2, 3, 4]
    assert {one.read_id for one in records} == {reply.json["read_id"]}
    assert {one.request_id for one in records} == {"r-1"}
    assert "".join(str(one.digit) for one in records) == CODE
    assert all(one.is_field and one.accepted and not one.is_bulk for one in records)
    assert all(one.deadline_us > one.time_us for one in records)
    for one, answered in zip(records, reply.json["digits"], strict=True):
        assert one.confidence == pytest.approx(answered["confidence"])
        assert min(one.decode_ms, one.preprocess_ms, one.inference_ms, one.decision_ms) > 0


async def test_the_recorded_crop_is_cut_from_the_field_around_the_digits_box(client, tmp_path):
    field = write(CODE)
    reply = await client.post("/v1/field?digits=5", field)
    grey = grey_of(field)
    for one, answered in zip(records_in(tmp_path), reply.json["digits"], strict=True):
        box, crop = answered["box"], one.crop
        margin = (crop.shape[0] - box["height"]) // 2
        assert 2 <= margin <= box["height"] // 5
        top, left = box["y"] - margin, box["x"] - margin
        assert_array_equal(crop, grey[top:, left:][: crop.shape[0], : crop.shape[1]])
        assert (one.aspect, one.inverted) == (pytest.approx(box["width"] / box["height"]), False)


async def test_light_ink_is_recorded_as_inverted(client, tmp_path):
    await client.post("/v1/field?digits=5", png_of(255 - grey_of(write(CODE))))
    assert [one.inverted for one in records_in(tmp_path)] == [True] * 5


async def test_a_recorded_digit_is_read_again_with_the_same_bits(client, tmp_path):
    await client.post("/v1/field?digits=5", write(CODE))
    artifact = load(CHAMPION)
    known = KnownModel(artifact, Classifier(artifact.onnx_bytes), is_champion=True)
    rows = to_table(records_in(tmp_path)).to_pylist()
    assert [reread(row, known).is_same_bits for row in rows] == [True] * 5


async def test_every_digit_of_a_rejected_code_goes_to_the_keyers(client, tmp_path):
    reply = await client.post("/v1/field?digits=5&pattern=9.*", write(CODE))
    assert reply.json["rejected_because"] == "no_valid_code"
    records = records_in(tmp_path)
    assert not any(one.accepted for one in records)
    assert "code_rejected" in {one.rejected_because for one in records}
    letter = choose_letter([_seen(one) for one in records])
    assert [one.how for one in letter.crops] == ["keyed"] * len(reply.json["digits"])


async def test_an_accepted_code_is_not_asked(client, tmp_path):
    assert (await client.post("/v1/field?digits=5", write(CODE))).json["accepted"]
    letter = choose_letter([_seen(one) for one in records_in(tmp_path)])
    assert letter is None


@pytest.mark.parametrize(("field", "reason"), [(BLANK, "blank"), (NOISE, "not_a_digit")])
async def test_a_field_without_digits_goes_to_the_keyers_as_one_crop(
    client, tmp_path, field, reason, monkeypatch
):
    if field is NOISE:
        monkeypatch.setattr(field_reader, "split_field", refuse)
    assert (await client.post("/v1/field?digits=5", field)).json["digits"] == []
    (record,) = records_in(tmp_path)
    assert (record.digit, record.accepted, record.rejected_because) == (None, False, reason)
    pixels = decode(record.crop) if isinstance(record.crop, bytes) else record.crop
    assert_array_equal(pixels, grey_of(field))
    assert choose_letter([_seen(record)]).crops[0].how == "keyed"


def refuse(*args):
    raise field_reader.NoDigits("no ink is as high as a digit")


async def test_a_large_field_without_digits_is_recorded_smaller(client, tmp_path):
    await client.post("/v1/field", png_of(np.full((1000, 3000), 240)))
    (record,) = records_in(tmp_path)
    assert record.crop_scale > 1


async def test_candidate_digits_that_were_not_chosen_leave_no_record(client, tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(field_reader, "split_field", lambda *args: note(split_field(*args), sizes))
    await client.post("/v1/field?digits=5", write("40079"))
    assert sizes[0] >= 5
    assert len(records_in(tmp_path)) == 5


async def test_digits_that_do_not_touch_are_read_without_cuts(client, monkeypatch):
    monkeypatch.setattr(field_reader, "cut_apart", refuse)
    assert (await client.post("/v1/field?digits=5", write("40079"))).json["code"] == "40079"


async def test_touching_digits_are_cut_and_no_piece_is_read_twice(client, monkeypatch):
    reader = client.app.routes["/v1/field"].handler.__self__.fields.reader
    seen, run = [], reader._batcher._run
    monkeypatch.setattr(
        reader._batcher,
        "_run",
        lambda batch: (seen.extend(one.source.tobytes() for one in batch), run(batch))[1],
    )
    field = grey_of(write(CODE))
    paper = np.flatnonzero((field > 200).all(axis=0))
    gap = next(last for first, last in itertools.pairwise(paper) if last > first + 1)
    ends = paper[paper >= gap]
    width = next(n for n, one in enumerate(ends) if one != gap + n)
    touching = np.delete(field, np.arange(gap, gap + width), axis=1)
    assert (await client.post("/v1/field?digits=5", png_of(touching))).json["code"] == CODE
    assert len(seen) > 10
    assert len(set(seen)) == len(seen)


def note(parts, sizes):
    sizes.append(len(parts.whole.pieces))
    return parts


async def test_a_field_whose_record_cannot_be_written_is_503(client, monkeypatch):
    def fail(spool, frames):
        raise SpoolError("no space left on device")

    monkeypatch.setattr(Spool, "append_frames", fail)
    reply = await client.post("/v1/field?digits=5", write(CODE))
    assert (reply.status, "retry-after" in reply.headers) == (503, True)


async def test_a_site_on_hold_gets_its_code_but_it_is_not_accepted(serve, tmp_path):
    incident = held(None, "anna", "dust on the lens", time.time_ns() // 1000)
    SiteStates(tmp_path / "sites").exchange([Change("local", "", 0, (), incident)])
    client = await serve(
        champion=CHAMPION,
        error_target=0.005,
        capture_dir=tmp_path / "spool",
        site_states_dir=tmp_path / "sites",
    )
    for field, digits in ((write(CODE), 5), (BLANK, 0)):
        answer = (await client.post("/v1/field?digits=5", field)).json
        assert (answer["accepted"], answer["rejected_because"]) == (False, "site_on_hold")
        assert len(answer["digits"]) == digits
        assert {one["rejected_because"] for one in answer["digits"]} <= {"site_on_hold"}
    records = records_in(tmp_path / "spool")
    assert [one.rejected_because for one in records] == ["site_on_hold"] * 6


async def test_the_challenger_reads_the_chosen_digits(serve, tmp_path):
    client = await serve(
        champion=CHAMPION,
        error_target=0.005,
        capture_dir=tmp_path,
        challenger=CHAMPION,
        challenger_frac=1,
    )
    await client.post("/v1/field?digits=5", write(CODE))
    give_up = time.monotonic() + PATIENCE_S
    counted = ""
    while 'result="same"} 5.0' not in counted and time.monotonic() < give_up:
        await asyncio.sleep(0.05)
        metrics = (await client.get("/metrics")).body.decode()
        counted = "\n".join(line for line in metrics.splitlines() if "shadow_reads_total{" in line)
    assert 'result="same"} 5.0' in counted


async def test_its_digits_are_counted_and_its_time_is_a_scanners(client):
    await client.post("/v1/field?digits=5", write(CODE))
    await client.post("/v1/field", BLANK)
    lines = (await client.get("/metrics")).body.decode().splitlines()
    assert 'digits_requests_total{endpoint="field",site="local",status="200"} 2.0' in lines
    assert 'digits_decisions_total{outcome="accepted",site="local"} 5.0' in lines
    assert 'digits_decisions_total{outcome="blank",site="local"} 1.0' in lines
    (count,) = [line for line in lines if 'duration_seconds_count{endpoint="field"' in line]
    assert 'traffic="scanner"' in count


async def test_the_sites_judge_notes_the_chosen_digits_and_the_field_without(client, monkeypatch):
    noted = []
    monkeypatch.setattr(
        "serving.reading.site_watch.SiteWatch.note",
        lambda watch, site, kept: noted.append(len(kept)),
    )
    await client.post("/v1/field?digits=5", write(CODE))
    await client.post("/v1/field", BLANK)
    await asyncio.sleep(0)
    assert noted == [5, 1]


async def test_crops_are_read_while_a_field_is_split(client, crops, monkeypatch):
    gate, threads = threading.Event(), []

    def split_slowly(*args):
        threads.append(threading.current_thread().name)
        assert gate.wait(PATIENCE_S)
        return split_field(*args)

    monkeypatch.setattr(field_reader, "split_field", split_slowly)
    field = asyncio.create_task(client.post("/v1/field?digits=5", write(CODE)))
    for crop in crops[:3]:
        assert (await client.post("/v1/digit", crop.png)).status == 200
    assert not field.done()
    gate.set()
    assert (await field).json["code"] == CODE
    assert threads == ["costly crops"]


async def test_only_candidate_digits_and_records_take_the_models_thread(client, monkeypatch):
    reader = client.app.routes["/v1/field"].handler.__self__.fields.reader
    calls, batches = [], []
    call, run = reader._batcher.call, reader._batcher._run

    def noted(function, sender, cost_s):
        calls.append(function.func.__name__)
        return call(function, sender, cost_s)

    monkeypatch.setattr(reader._batcher, "call", noted)
    monkeypatch.setattr(
        reader._batcher, "_run", lambda batch: (batches.append(batch), run(batch))[1]
    )
    await client.post("/v1/field?digits=5", write("40079"))
    assert calls == ["persisted"]
    images = np.concatenate([one.source for batch in batches for one in batch])
    assert images.shape == (len(images), 28, 28)
    levels = np.rint(images * 255)  # as a record has them
    assert_array_equal(images, levels / np.float32(255))
    assert max(map(len, batches)) <= 32


async def test_a_field_is_charged_to_its_sender_by_its_pixels(client, monkeypatch):
    reader = client.app.routes["/v1/field"].handler.__self__.fields.reader
    charged = []
    call = reader._costly.call

    def noted(function, sender, cost_s):
        charged.append((function.func.__name__, sender, cost_s))
        return call(function, sender, cost_s)

    monkeypatch.setattr(reader._costly, "call", noted)
    small, large = write("40079"), png_of(np.full((2000, 2000), 240))
    await client.post("/v1/field", small)
    await client.post("/v1/field", large)
    assert [(name, sender) for name, sender, _ in charged] == [
        ("_split", "127.0.0.1"), ("_decide_or_cut", "127.0.0.1"), ("_split", "127.0.0.1"),
    ]  # fmt: skip
    assert charged[0][2] == split_s(small)
    assert charged[2][2] == split_s(large) > 5 * COSTLY_S


def test_a_jpegs_pixels_count_as_a_pngs_do():
    grey = np.full((2000, 2000), 240)
    jpeg = png_of(grey, "JPEG")
    assert predict_px(jpeg) == predict_px(png_of(grey)) == 4_000_000
    assert predict_px(jpeg[:150]) == predict_px(b"GIF89a") == 0
    small = png_of(grey[:200, :200])
    split_only_s = [split_s(one) - predict_decode_ms(one) * 1e-3 for one in (small, jpeg)]
    assert split_only_s[1] - split_only_s[0] > 0.003


async def test_fields_of_one_sender_do_not_delay_anothers(client, monkeypatch):
    """Ten wait; the newcomer's is read second."""
    order, gate = [], threading.Event()

    def split(*args):
        assert gate.wait(PATIENCE_S)
        return split_field(*args)

    monkeypatch.setattr(field_reader, "split_field", split)
    other = type(client)(client.app, ("127.0.0.2", 40_000))

    async def send(name, sender):
        await sender.post("/v1/field", BLANK)
        order.append(name)

    tasks = [asyncio.create_task(send("first", client)) for _ in range(10)]
    await asyncio.sleep(0.05)
    tasks.append(asyncio.create_task(send("other", other)))
    await asyncio.sleep(0.05)
    gate.set()
    await asyncio.gather(*tasks)
    assert order.index("other") <= 2


async def test_a_field_that_would_wait_too_long_is_503_with_a_time_to_wait(serve, monkeypatch):
    client = await serve(champion=CHAMPION, error_target=0.005, max_queue_wait_ms=5)
    gate = threading.Event()

    def split(*args):
        assert gate.wait(PATIENCE_S)
        return split_field(*args)

    monkeypatch.setattr(field_reader, "split_field", split)
    large = png_of(np.full((2000, 2000), 240))
    sent = [asyncio.create_task(client.post("/v1/field", large)) for _ in range(4)]
    await asyncio.sleep(0.05)
    gate.set()
    replies = await asyncio.gather(*sent)
    assert sorted({reply.status for reply in replies}) == [200, 503]
    assert all("retry-after" in reply.headers for reply in replies if reply.status == 503)


async def test_a_model_error_of_one_candidate_digit_is_503(client, monkeypatch):
    def fail(classifier, batch):
        from model.errors import ModelError

        raise ModelError("out of memory")

    monkeypatch.setattr(Classifier, "__call__", fail)
    assert (await client.post("/v1/field?digits=5", write(CODE))).status == 503
