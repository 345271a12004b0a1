import asyncio
import io
import threading
from dataclasses import replace

import numpy as np
import pytest
from champions import make_model, write_champion
from PIL import Image

from model.artifact import load
from model.classifier import Classifier
from model.decode import decode
from model.errors import CropError, ModelError, UnreadableCrop
from serving.config import Settings
from serving.messages import Reading, Request
from serving.problems import Overloaded
from serving.reading import batch_reading
from serving.reading.batcher import Batcher
from serving.reading.crop_cost import COSTLY_S, PIECE_S, cost_s, pieces
from serving.reading.preparing import NotFramed, prepare
from serving.reading.reader import CHUNK, Reader
from serving.served_model import build_model


def make_reader(folder, **settings):
    model = build_model(load(folder), None)
    return Reader(model, Settings(**settings), lambda stats: None, lambda *batch: {})


@pytest.fixture
def reader(tiny_champion):
    made = make_reader(tiny_champion)
    yield made
    made.close()


def test_a_new_reader_has_primed_the_time_estimate(tiny_champion, monkeypatch):
    learned = []
    monkeypatch.setattr(Batcher, "learn", lambda batcher, *batch: learned.append(batch))
    make_reader(tiny_champion).close()
    alone_s, chunk_s = sorted({cost_s for cost_s, _ in learned})
    assert chunk_s == pytest.approx(CHUNK * alone_s)
    assert all(seconds > 0 for _, seconds in learned)


async def test_a_file_an_array_and_an_image_read_alike(reader, crops, images):
    for place in (0, 50, 150):
        sources = [crops[place].png, crops[place].pixels, images[place]]
        digits = [(await reader.read(source)).decision.digit for source in sources]
        assert digits == [crops[place].label] * 3


async def test_a_reading_has_the_fields_that_capture_records(reader, crops):
    reading = await reader.read(crops[0].png)
    assert np.array_equal(reading.crop, crops[0].pixels)
    assert reading.image.shape == (1, 28, 28)
    assert reading.framed is not None
    assert min(reading.decode_ms, reading.preprocess_ms, reading.inference_ms) > 0


async def test_a_blank_is_a_reading_without_an_image(reader):
    reading = await reader.read(np.full((30, 30), 255, dtype=np.uint8))
    assert reading.decision.rejected_because == "blank"
    assert reading.image is None


async def test_only_blanks_need_no_inference(reader):
    reader.model = replace(reader.model, classifier=None)
    paper = np.full((30, 30), 255, dtype=np.uint8)
    readings = await reader.read_many([paper, paper])
    assert [one.decision.digit for one in readings] == [None, None]


async def test_a_bad_crop_is_an_error_in_its_place(reader, crops):
    readings = await reader.read_many([crops[0].png, crops[1].png[:40], crops[2].png])
    assert readings[0].decision.digit == crops[0].label
    assert isinstance(readings[1], UnreadableCrop)
    assert readings[2].decision.digit == crops[2].label


async def test_a_bad_crop_alone_is_raised(reader, crops):
    with pytest.raises(CropError):
        await reader.read(crops[0].png[:40])


async def test_a_crop_that_the_model_fails_on_is_a_model_error(reader, crops, monkeypatch):
    def fail(self, batch):
        raise ModelError("out of memory")

    monkeypatch.setattr(Classifier, "__call__", fail)
    with pytest.raises(ModelError):
        await reader.read_many([crops[0].png, crops[1].png])


async def test_a_model_that_fails_for_one_image_answers_the_others(reader, crops, monkeypatch):
    classify = Classifier.__call__
    poison = (await reader.read(crops[1].png)).image

    def classify_or_fail(self, batch):
        if any(np.array_equal(image, poison) for image in batch):
            raise ModelError("failed")
        return classify(self, batch)

    monkeypatch.setattr(Classifier, "__call__", classify_or_fail)
    outcomes = await asyncio.gather(
        *(reader.read(crops[place].png) for place in range(4)), return_exceptions=True
    )
    assert isinstance(outcomes[1], ModelError)
    for place in (0, 2, 3):
        assert outcomes[place].decision.digit == crops[place].label


async def test_more_crops_than_the_queue_holds_are_refused(tiny_champion, crops):
    reader = make_reader(tiny_champion, max_batch_size=32, queue_limit=4)
    with pytest.raises(Overloaded):
        await reader.read_many([crop.png for crop in crops[:32]])
    reader.close()


async def test_a_bulk_request_is_cut_by_predicted_time(reader, monkeypatch):
    sizes = []
    read = reader._batcher._run
    monkeypatch.setattr(
        reader._batcher, "_run", lambda batch: (sizes.append(len(batch)), read(batch))[1]
    )
    await reader.read_many([np.full((1000, 1000), 255, np.uint8)] * 6)
    assert max(sizes) * cost_s(np.zeros((1000, 1000), np.uint8)) <= PIECE_S
    assert sum(sizes) == 6


def flat_png(side_px):
    """A file of a few kilobytes that takes long to decode."""
    stream = io.BytesIO()
    grey = np.full((side_px, side_px), 65_535, np.uint16)
    grey[side_px // 4 : -side_px // 4, side_px // 2 : side_px // 2 + side_px // 10] = 0
    Image.fromarray(grey).save(stream, "PNG")
    return stream.getvalue()


def striped(side_px):
    """A crop full of lines, which takes many times as long to frame as a digit."""
    crop = np.full((side_px, side_px), 255, np.uint8)
    for row in range(0, side_px, 3):
        crop[row, row % 7 : side_px - row % 5] = 0
    return crop


async def test_a_batch_frames_what_its_time_allows_and_the_rest_is_read_later(
    reader, crops, monkeypatch
):
    sizes, read_batch = [], batch_reading.read_batch

    def note(sources, model):
        readings = read_batch(sources, model)
        sizes.append(sum(isinstance(one, Reading) for one in readings))
        return readings

    monkeypatch.setattr(batch_reading, "read_batch", note)
    monkeypatch.setattr("serving.reading.preparing.FRAMING_S", 0.0)
    sources = [crop.png for crop in crops[:5]]
    readings = await reader.read_many(sources)
    alone = [(await reader.read(source)).decision.ranking for source in sources]
    assert [one.decision.ranking for one in readings] == alone
    assert sizes[:5] == [1] * 5


def test_each_crop_carries_its_own_time():
    plain, costly = prepare(
        [np.pad(np.zeros((20, 4), np.uint8), 20, constant_values=255), striped(64)]
    )
    assert costly.preprocess_ms > 3 * plain.preprocess_ms


def test_a_crop_that_waits_for_another_batch_is_expected_to_take_what_others_took():
    ticks = iter([0.0, 0.0, 0.001, 0.002, 0.02, 0.02])
    plain = np.pad(np.zeros((20, 4), np.uint8), 20, constant_values=255)
    *_, waiting = prepare([plain] * 5, lambda: next(ticks))
    assert isinstance(waiting, NotFramed)
    assert waiting.framing_s == pytest.approx(0.001)


async def test_a_sender_is_charged_for_what_its_crops_took_to_frame(reader, monkeypatch):
    charged = []
    monkeypatch.setattr(
        reader._batcher, "charge", lambda sender, excess_s: charged.append(excess_s)
    )
    await reader.read(striped(64))
    assert charged[0] > COSTLY_S / 2


def test_the_files_of_a_bulk_request_are_looked_at_piece_by_piece(monkeypatch):
    looked_at = []
    monkeypatch.setattr(
        "serving.reading.crop_cost.cost_s", lambda source: looked_at.append(source) or PIECE_S
    )
    assert next(pieces([b"a", b"b", b"c", b"d"], CHUNK)) == (0, 1, PIECE_S)
    assert looked_at == [b"a", b"b"]


async def test_a_costly_crop_is_decoded_beside_the_models_thread(reader, monkeypatch):
    threads = []

    def decode_here(data):
        threads.append(threading.current_thread().name)
        return decode(data)

    monkeypatch.setattr("serving.reading.preparing.decode", decode_here)
    costly = flat_png(1000)
    assert cost_s(costly) > COSTLY_S
    reading = await reader.read(costly)
    assert threads == ["costly crops"]
    assert reading.decision.digit is not None
    assert reading.decode_ms > 0


async def test_a_costly_crop_reads_like_its_pixels(reader, crops):
    costly = flat_png(1000)
    readings = await reader.read_many([crops[0].png, costly, crops[1].png[:40], crops[2].png])
    assert readings[1].decision == (await reader.read(decode(costly))).decision
    assert readings[1].crop is None  # released after its record
    assert readings[0].decision.digit == crops[0].label
    assert isinstance(readings[2], UnreadableCrop)
    assert readings[3].decision.digit == crops[2].label


async def test_a_costly_crop_that_is_damaged_is_an_error_in_its_place(reader, crops):
    damaged = flat_png(1000)[:-400]
    with pytest.raises(CropError):
        await reader.read(damaged)
    readings = await reader.read_many([damaged, crops[0].png])
    assert isinstance(readings[0], CropError)
    assert readings[1].decision.digit == crops[0].label


async def test_small_crops_and_the_golden_crop_do_not_wait_for_a_costly_one(
    reader, crops, monkeypatch
):
    gate = threading.Event()

    def wait_for_gate(data):
        if len(data) > 1_000:
            assert gate.wait(20)
        return decode(data)

    monkeypatch.setattr("serving.reading.preparing.decode", wait_for_gate)
    costly = asyncio.create_task(reader.read(flat_png(1000)))
    await reader.read_golden()
    assert (await reader.read(crops[0].png)).decision.digit == crops[0].label
    assert not costly.done()
    gate.set()
    await costly


async def test_the_rest_of_a_bulk_request_whose_caller_has_gone_is_not_read(
    reader, crops, monkeypatch
):
    read = reader._batcher._run
    gate, started, num_read = threading.Event(), threading.Event(), []

    def wait_for_gate(batch):
        num_read.append(len(batch))
        started.set()
        assert gate.wait(20)
        return read(batch)

    monkeypatch.setattr(reader._batcher, "_run", wait_for_gate)
    gone = asyncio.create_task(reader.read_many([crop.png for crop in crops[:100]]))
    await asyncio.to_thread(started.wait, 20)
    gone.cancel()
    gate.set()
    await reader.read(crops[0].png)
    assert num_read == [num_read[0], 1]
    assert num_read[0] <= CHUNK


async def test_long_work_runs_beside_the_model(reader):
    request = Request("r", "r", "s", "", {}, b"", b"", 0.0, 0.0, reader.model, sender="a")
    thread = await reader.beside(lambda: threading.current_thread().name, request, 0.005)
    assert thread == "costly crops"


async def test_work_in_turn_returns_its_value_or_raises_its_error(reader):
    request = Request("r", "r", "s", "", {}, b"", b"", 0.0, 0.0, reader.model, sender="a")
    assert await reader.in_turn(lambda: threading.current_thread().name, request, 0.001) == "model"
    with pytest.raises(ZeroDivisionError):
        await reader.in_turn(lambda: 1 // 0, request, 0.001)


@pytest.mark.parametrize(
    "golden",
    [
        {"file": "golden.png", "digit": 5, "min_confidence": 0.5},
        {"file": "golden.png", "digit": 0, "min_confidence": 1.1},
    ],
)
def test_a_champion_that_misreads_its_golden_crop_does_not_start(
    tmp_path, tiny_model, crops, golden
):
    folder = write_champion(tmp_path, tiny_model, crops[0], golden=golden)
    with pytest.raises(ModelError, match="golden crop reads 0"):
        make_reader(folder)


def test_a_champion_whose_golden_crop_is_damaged_does_not_start(own_champion):
    (own_champion / "golden.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ModelError, match="golden crop cannot be read"):
        make_reader(own_champion)


def test_a_champion_that_cannot_run_does_not_start(tmp_path, crops):
    weights = np.full((784, 10), np.nan, dtype=np.float32)
    folder = write_champion(tmp_path, make_model(weights), crops[0])
    with pytest.raises(ModelError, match="not finite"):
        make_reader(folder)
