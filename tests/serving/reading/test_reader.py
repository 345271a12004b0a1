import numpy as np
import pytest
from champions import make_model, write_champion

from model.artifact import load
from model.classifier import Classifier
from model.errors import CropError, ModelError, UnreadableCrop
from serving.config import Settings
from serving.problems import Overloaded
from serving.reading.batcher import Batcher
from serving.reading.reader import CHUNK, Reader


def make_reader(folder, **settings):
    artifact = load(folder)
    policy, limits = artifact.policy(), Settings(**settings)
    return Reader(artifact, policy, limits, lambda stats: None, lambda *batch: {})


@pytest.fixture
def reader(tiny_champion):
    made = make_reader(tiny_champion)
    yield made
    made.close()


def test_a_new_reader_has_primed_the_time_estimate(tiny_champion, monkeypatch):
    learned = []
    monkeypatch.setattr(Batcher, "learn", lambda batcher, *batch: learned.append(batch))
    make_reader(tiny_champion).close()
    assert {size for size, _ in learned} == {1, CHUNK}
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


async def test_only_blanks_need_no_inference(reader, monkeypatch):
    monkeypatch.setattr(reader, "_classifier", None)
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
    import asyncio

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
