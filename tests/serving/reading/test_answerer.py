"""Answers of other models: batches, records, the golden item, an exchange of the model."""

import asyncio
import time

import pytest

from capture import answer_record
from capture.segments import spool_payloads
from capture.spool import SpoolError
from model.errors import ModelError
from serving.config import Settings
from serving.messages import Request
from serving.reading.answerer import Answerer, Kind, Recorded


class Doubling:
    """A model that doubles numbers, and notes its batches."""

    def __init__(self, version="1"):
        self.version = version
        self.batches = []

    def run(self, items):
        self.batches.append(list(items))
        if "broken" in items:
            raise ModelError("broken")
        return [2 * one for one in items]


def check(model, answer):
    if answer != 42:
        raise ModelError(f"the golden item gives {answer}; 42 is expected")


KIND = Kind(
    run=lambda model, items: model.run(items),
    golden=lambda model: 21,
    check_golden=check,
    recorded=lambda item, answer: Recorded(
        str(answer), 1.0, {"size": float(item)}, str(item).encode()
    ),
    item_s=1e-4,
    max_batch_s=0.01,
)


def request(model, number=0):
    return Request(
        id=f"request-{number}",
        read_id=f"read-{number}",
        site="here",
        content_type="application/json",
        headers={},
        query_string=b"",
        body=b"",
        started=time.perf_counter(),
        guard_ms=0.1,
        model=model,
        sender="s",
    )


@pytest.fixture
def model():
    return Doubling()


@pytest.fixture
def open_answerer(model):
    opened = []

    def start(kind=KIND, **settings):
        opened.append(Answerer(model, kind, Settings(**settings), lambda stats: None))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


async def test_callers_that_wait_together_share_a_batch(open_answerer, model):
    answerer = open_answerer()
    model.batches.clear()
    answers = await asyncio.gather(*(answerer.answer([n], request(model, n)) for n in range(8)))
    assert answers == [[2 * n] for n in range(8)]
    assert max(map(len, model.batches)) > 1


async def test_more_items_than_a_batch_are_answered_in_order(open_answerer, model):
    answerer = open_answerer(max_batch_size=4)
    assert await answerer.answer(range(10), request(model)) == list(range(0, 20, 2))
    assert max(map(len, model.batches)) == 4


async def test_every_answer_is_recorded_before_it_is_sent(open_answerer, model, tmp_path):
    answerer = open_answerer(capture_dir=tmp_path)
    await answerer.answer([3, 4], request(model, 7))
    records = [answer_record.decode(one) for one in spool_payloads(tmp_path)]
    assert [(one.read_id, one.index, one.answer) for one in records] == [
        ("read-7", 0, "6"),
        ("read-7", 1, "8"),
    ]
    assert (records[0].content, records[0].features) == (b"3", {"size": 3.0})


async def test_the_input_is_left_out_where_originals_are_not_kept(open_answerer, model, tmp_path):
    answerer = open_answerer(capture_dir=tmp_path, capture_originals=False)
    await answerer.answer([3], request(model))
    (payload,) = spool_payloads(tmp_path)
    assert answer_record.decode(payload).content == b""


async def test_an_answer_that_cannot_be_recorded_is_not_given(open_answerer, model, tmp_path):
    answerer = open_answerer(capture_dir=tmp_path)
    answerer._spool.close()
    with pytest.raises(SpoolError):
        await answerer.answer([3], request(model))


async def test_a_failing_item_fails_its_request_and_no_other(open_answerer, model):
    answerer = open_answerer()
    bad, good = await asyncio.gather(
        answerer.answer(["broken"], request(model, 1)),
        answerer.answer([5], request(model, 2)),
        return_exceptions=True,
    )
    assert isinstance(bad, ModelError)
    assert good == [10]


async def test_a_request_is_answered_by_the_model_that_it_came_to(open_answerer, model):
    answerer = open_answerer()
    later = Doubling("2")
    answerer.model = later
    await asyncio.gather(
        answerer.answer([1], request(model, 1)), answerer.answer([2], request(later, 2))
    )
    assert [1] in model.batches
    assert later.batches == [[2]]


async def test_the_golden_item_leaves_no_record(open_answerer, tmp_path):
    answerer = open_answerer(capture_dir=tmp_path)
    await answerer.read_golden()
    assert list(spool_payloads(tmp_path)) == []


def test_a_model_that_answers_its_golden_item_wrong_is_refused(open_answerer):
    with pytest.raises(ModelError, match="42 is expected"):
        open_answerer(KIND._replace(golden=lambda model: 20))


async def test_readiness_finds_a_model_that_answers_its_golden_item_wrong(open_answerer, model):
    answerer = open_answerer()
    answerer.model = Doubling("2")
    answerer.model.run = lambda items: [0 for _ in items]
    with pytest.raises(ModelError, match="gives 0"):
        await answerer.read_golden()
