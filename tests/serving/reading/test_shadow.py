"""A challenger reads a share of the crops when there is time, and changes no answer."""

import asyncio

import pytest
from champions import write_champion

from capture.ship import ship_once
from capture.store import open_store
from model.decision import Decision
from serving.config import ConfigError
from serving.reading import shadow

PATIENCE_S = 20


@pytest.fixture
def challenger(tmp_path, tiny_model, crops):
    """A champion folder that accepts nothing; it reads the same digits."""
    return write_champion(
        tmp_path / "challenger",
        tiny_model,
        crops[0],
        version="tiny-2",
        temperature=50.0,
        golden={"file": "golden.png", "digit": crops[0].label, "min_confidence": 0.0},
    )


async def metrics_with(client, text):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = (await client.get("/metrics")).body.decode()
            if text in found:
                return found
            await asyncio.sleep(0.01)


SHADOW_READS = (
    'digits_shadow_reads_total{challenger="tiny-2",champion="tiny-1",'
    'result="only_champion_accepts"}'
)


async def test_both_answers_are_counted_by_version_and_end_in_one_row(
    serve, challenger, crops, tmp_path
):
    client = await serve(challenger=challenger, challenger_frac=1.0, capture_dir=tmp_path / "spool")
    answer = await client.post("/v1/digit", crops[0].png)
    assert (answer.json["model_version"], answer.json["accepted"]) == ("tiny-1", True)
    await metrics_with(client, f"{SHADOW_READS} 1.0")
    client.app.lifecycle._on_close()
    store = open_store(str(tmp_path / "archive"))
    assert ship_once(tmp_path / "spool", store).num_records == 1
    (row,) = rows_of(store)
    assert (row["model_version"], row["digit"], row["accepted"]) == ("tiny-1", 0, True)
    assert (row["challenger_version"], row["challenger_digit"]) == ("tiny-2", 0)
    assert not row["challenger_accepted"]
    assert 0 < row["challenger_confidence"] < row["confidence"]


def rows_of(store):
    from capture.archive import decode

    return [row for key in store.find("records/") for row in decode(store.get(key)).to_pylist()]


async def test_its_share_is_a_share_of_the_reads(serve, challenger, crops):
    client = await serve(challenger=challenger, challenger_frac=0.3)
    for crop in crops[:100]:
        await client.post("/v1/digit", crop.png)
    await asyncio.sleep(0.2)
    text = (await client.get("/metrics")).body.decode()
    lines = [line for line in text.splitlines() if line.startswith("digits_shadow_reads_total{")]
    assert 15 <= sum(float(line.split()[-1]) for line in lines) <= 45


async def test_while_the_champion_is_busy_crops_wait_and_then_are_dropped(
    serve, challenger, crops, monkeypatch
):
    monkeypatch.setattr(shadow, "QUEUE_LIMIT", 3)
    is_idle = False
    monkeypatch.setattr("serving.reading.reader.Reader.is_idle", lambda reader: is_idle)
    client = await serve(challenger=challenger, challenger_frac=1.0)
    for crop in crops[:10]:
        assert (await client.post("/v1/digit", crop.png)).status == 200
    text = (await client.get("/metrics")).body.decode()
    assert "digits_shadow_dropped_total 7.0" in text
    assert SHADOW_READS not in text
    is_idle = True
    await metrics_with(client, f"{SHADOW_READS} 3.0")


async def test_what_waits_for_the_challenger_holds_no_body(serve, challenger, crops, monkeypatch):
    monkeypatch.setattr("serving.reading.reader.Reader.is_idle", lambda reader: False)
    queued = []
    monkeypatch.setattr(shadow, "deque", lambda: queued)
    client = await serve(challenger=challenger, challenger_frac=1.0)
    await client.post("/v1/digit", crops[0].png)
    ((*names, decision, image),) = queued
    assert [type(one) for one in names] == [float, str, int, str]
    assert isinstance(decision, Decision)
    assert (image.shape, image.base) == ((1, 28, 28), None)


async def test_a_crop_that_has_waited_too_long_is_dropped(serve, challenger, crops, monkeypatch):
    monkeypatch.setattr(shadow, "STALE_S", -1.0)
    client = await serve(challenger=challenger, challenger_frac=1.0)
    await client.post("/v1/digit", crops[0].png)
    await metrics_with(client, "digits_shadow_dropped_total 1.0")


async def test_a_challenger_that_fails_changes_no_answer(
    serve, challenger, crops, monkeypatch, logs
):
    client = await serve(challenger=challenger, challenger_frac=1.0)

    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(shadow, "decide", fail)
    for crop in crops[:5]:
        assert (await client.post("/v1/digit", crop.png)).status == 200
    await metrics_with(client, "digits_shadow_dropped_total 5.0")
    assert "the challenger failed" in [one["event"] for one in logs]


async def test_an_unfit_challenger_prevents_the_start(serve, challenger):
    (challenger / "model.onnx").write_bytes(b"torn")
    with pytest.raises(ConfigError, match="DIGITS_CHALLENGER"):
        await serve(challenger=challenger)


async def test_a_crop_that_a_person_tries_is_not_read_by_the_challenger(serve, challenger, crops):
    client = await serve(challenger=challenger, challenger_frac=1.0)
    assert (await client.post("/v1/explain", crops[0].png)).status == 200
    await client.post("/v1/digit", crops[0].png)
    text = await metrics_with(client, SHADOW_READS)
    assert f"{SHADOW_READS} 1.0" in text
