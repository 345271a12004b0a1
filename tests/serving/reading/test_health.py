import asyncio
from types import SimpleNamespace

import pytest

from model.errors import ModelError
from serving.problems import Overloaded
from serving.reading import health as health_module
from serving.reading.health import Health


class Reader:
    """Answers what the test sets."""

    def __init__(self):
        self.busy_s = 0.0
        self.error = None
        self.hangs = False
        self.num_read = 0

    def busy_for_s(self):
        return self.busy_s

    async def read_golden(self):
        self.num_read += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


class Capture:
    is_writable = True

    def writable(self):
        return self.is_writable


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture
def champion():
    return SimpleNamespace(refused=None)


@pytest.fixture
def capture():
    return Capture()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(reader, capture, champion, clock):
    return Health(reader, capture, champion, clock)


async def test_a_ready_process_has_no_reasons(health):
    assert await health.reasons_not_ready() == []


async def test_all_reasons_are_reported_together(health, reader, capture):
    health.is_draining = True
    capture.is_writable = False
    reader.error = ModelError("reads 3 for a 7")
    reasons = await health.reasons_not_ready()
    assert len(reasons) == 3
    assert "draining" in reasons[0]
    assert "spool" in reasons[1]
    assert reasons[2] == "reads 3 for a 7"


async def test_a_busy_model_is_still_ready(health, reader):
    reader.error = Overloaded("too many", 1.0)
    assert await health.reasons_not_ready() == []


async def test_a_golden_crop_that_is_not_read_in_time_is_a_reason(health, reader, monkeypatch):
    monkeypatch.setattr(health_module, "GOLDEN_TIMEOUT_S", 0.01)
    reader.hangs = True
    assert "not read within" in (await health.reasons_not_ready())[0]


async def test_a_batch_that_does_not_end_is_a_reason(health, reader):
    reader.busy_s = 7.0
    assert "busy with one batch for 7.0 s" in (await health.reasons_not_ready())[0]


async def test_a_refused_champion_is_a_reason_until_it_is_fit_again(health, champion):
    champion.refused = "it has changed on disk"
    assert await health.reasons_not_ready() == ["it has changed on disk"]
    champion.refused = None
    assert await health.reasons_not_ready() == []


async def test_many_readiness_requests_read_the_golden_crop_once(health, reader, clock):
    await asyncio.gather(*(health.reasons_not_ready() for _ in range(100)))
    assert reader.num_read == 1
    clock.now += health_module.GOLDEN_FRESH_S
    await health.reasons_not_ready()
    assert reader.num_read == 2
