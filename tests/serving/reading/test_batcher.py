import asyncio
import contextlib
import gc
import threading
from queue import SimpleQueue

import numpy as np
import pytest

from serving.problems import Overloaded
from serving.reading.batcher import Batcher

PATIENCE_S = 20  # only a broken test waits this long


class Model:
    """Doubles numbers; records its batches; waits at a gate; raises for poison."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()
        self.poison = set()
        self._started = SimpleQueue()

    def __call__(self, items):
        self.batches.append(list(items))
        self._started.put(None)
        assert self.gate.wait(PATIENCE_S)
        if self.poison & set(items):
            raise RuntimeError(f"failed on {items}")
        return [ValueError("odd one out") if item < 0 else item * 2 for item in items]

    async def started(self):
        """Wait until the model has taken one more batch."""
        await asyncio.to_thread(self._started.get, timeout=PATIENCE_S)


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def make_batcher(model):
    made = []

    def make(kind=Batcher, **changes):
        options = {
            "name": "model",
            "max_batch_size": 4,
            "queue_limit": 200,
            "max_wait_s": 1e9,
            "on_batch": lambda stats: None,
            **changes,
        }
        batcher = kind(model, **options)
        made.append(batcher)
        return batcher

    yield make
    model.gate.set()
    for batcher in made:
        batcher.close()


def submit(batcher, *items, sender="a"):
    return asyncio.ensure_future(run(batcher, items, sender))


async def run(batcher, items, sender="a"):
    """Submit items that cost a millisecond each."""
    return await batcher.submit(items, sender, 0.001 * len(items))


async def queued(batcher, num_items):
    async with asyncio.timeout(PATIENCE_S):
        while batcher.num_queued != num_items:  # noqa: ASYNC110  the callers above run meanwhile
            await asyncio.sleep(0)


async def test_an_idle_model_runs_one_item_at_once(make_batcher, model):
    assert await run(make_batcher(), [21]) == [42]
    assert model.batches == [[21]]


async def test_items_of_one_tick_share_a_batch(make_batcher, model):
    batcher = make_batcher()
    answers = await asyncio.gather(*(run(batcher, [number]) for number in range(4)))
    assert answers == [[0], [2], [4], [6]]
    assert model.batches == [[0, 1, 2, 3]]


async def test_after_a_batch_of_one_job_the_next_is_dispatched_in_one_turn(make_batcher, model):
    batcher = make_batcher()
    await run(batcher, [1])
    answers = [submit(batcher, number) for number in (2, 3, 4)]
    await asyncio.sleep(0)  # the one turn in which all three are submitted
    assert batcher.num_queued == 2
    assert await asyncio.gather(*answers) == [[4], [6], [8]]
    assert model.batches == [[1], [2], [3, 4]]


async def test_after_a_batch_of_many_jobs_items_of_one_tick_share_a_batch(make_batcher, model):
    batcher = make_batcher()
    await run(batcher, [1])
    await asyncio.gather(*(run(batcher, [number]) for number in (2, 3, 4)))
    await asyncio.gather(*(run(batcher, [number]) for number in (5, 6)))
    assert model.batches == [[1], [2], [3, 4], [5, 6]]


async def test_items_that_wait_for_a_busy_model_share_the_next_batch(make_batcher, model):
    batcher = make_batcher()
    model.gate.clear()
    first = submit(batcher, 1)
    await model.started()
    later = [submit(batcher, number) for number in (2, 3, 4)]
    await queued(batcher, 3)
    model.gate.set()
    assert await asyncio.gather(first, *later) == [[2], [4], [6], [8]]
    assert model.batches == [[1], [2, 3, 4]]


async def test_no_batch_is_larger_than_the_limit(make_batcher, model):
    batcher = make_batcher(max_batch_size=4)
    await asyncio.gather(*(run(batcher, [number]) for number in range(11)))
    assert [len(batch) for batch in model.batches] == [4, 4, 3]


async def test_items_keep_the_order_of_arrival(make_batcher, model):
    batcher = make_batcher()
    await asyncio.gather(*(run(batcher, [number]) for number in range(11)))
    assert [item for batch in model.batches for item in batch] == list(range(11))


async def test_items_of_one_caller_stay_in_one_batch(make_batcher, model):
    batcher = make_batcher(max_batch_size=4)
    answers = await asyncio.gather(run(batcher, [1, 2, 3]), run(batcher, [4, 5]))
    assert answers == [[2, 4, 6], [8, 10]]
    assert model.batches == [[1, 2, 3], [4, 5]]


async def test_more_items_than_a_batch_holds_raise_value_error(make_batcher):
    with pytest.raises(ValueError, match="5 items submitted at once; at most 4"):
        await run(make_batcher(max_batch_size=4), [1, 2, 3, 4, 5])


@pytest.mark.parametrize("seed", range(10))
async def test_every_caller_gets_its_own_answers(make_batcher, model, seed):
    rng = np.random.default_rng(seed)
    batcher = make_batcher(max_batch_size=8, queue_limit=10_000)
    model.poison = {13, 77}

    async def caller(items):
        for _ in range(int(rng.integers(0, 4))):
            await asyncio.sleep(0)
        return await run(batcher, items)

    jobs = [rng.integers(0, 100, rng.integers(1, 9)).tolist() for _ in range(100)]
    answers = await asyncio.gather(*(caller(items) for items in jobs))
    for items, outcomes in zip(jobs, answers, strict=True):
        for item, outcome in zip(items, outcomes, strict=True):
            if item in model.poison:
                assert isinstance(outcome, RuntimeError)
            else:
                assert outcome == item * 2
    assert max(len(batch) for batch in model.batches) <= 8


class PlainBatcher(Batcher):
    """The batcher without early dispatch: each batch waits one event-loop turn."""

    _was_one_job = property(lambda self: False, lambda self, value: None)


@pytest.mark.parametrize("seed", range(5))
async def test_early_dispatch_gives_the_outcomes_of_the_plain_batcher(model, make_batcher, seed):
    model.poison = {13, 77}
    seen = []
    for kind in (Batcher, PlainBatcher):
        rng = np.random.default_rng(seed)
        batcher = make_batcher(kind=kind)
        outcomes = []
        for _ in range(40):  # often one caller alone, which is what early dispatch is for
            items = [rng.integers(0, 100, 2).tolist() for _ in range(int(rng.integers(1, 4)))]
            async with asyncio.timeout(PATIENCE_S):
                outcomes += await asyncio.gather(*(run(batcher, job) for job in items))
        seen.append([[str(outcome) for outcome in job] for job in outcomes])
    assert seen[0] == seen[1]


async def test_a_full_queue_is_refused_with_its_limit(make_batcher, model):
    batcher = make_batcher(max_batch_size=2, queue_limit=4)
    model.gate.clear()
    running = submit(batcher, 1)
    await model.started()
    waiting = submit(batcher, 2, 3)
    await queued(batcher, 2)
    with pytest.raises(Overloaded, match="2 items are waiting, 2 of them yours; the limit is 4"):
        batcher.admit(1, "a", 0.001)
    model.gate.set()
    assert await asyncio.gather(running, waiting) == [[2], [4, 6]]


async def test_a_wait_predicted_too_long_is_refused_with_a_retry_time(make_batcher, model):
    batcher = make_batcher(max_wait_s=5.0)
    for _ in range(20):
        batcher.learn(0.001, 1000.0)  # batches took 1,000 s
    model.gate.clear()
    running = submit(batcher, 1)
    await model.started()
    batcher.admit(1, "a", 0.001)  # nothing waits yet, and the running batch does not hang
    waiting = submit(batcher, 2)
    await queued(batcher, 1)
    with pytest.raises(Overloaded, match="at most 5000 ms") as caught:
        batcher.admit(1, "a", 0.001)
    assert 1900 < caught.value.retry_after_s <= 2000
    model.gate.set()
    assert await asyncio.gather(running, waiting) == [[2], [4]]


async def test_while_a_batch_hangs_work_is_refused(make_batcher, model, monkeypatch):
    monkeypatch.setattr("serving.reading.batcher._STUCK_S", 0.01)
    batcher = make_batcher(max_wait_s=0.02)
    model.gate.clear()
    hung = submit(batcher, 1)
    await model.started()
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded):
        batcher.admit(1, "late", 0.001)
    model.gate.set()
    await hung


async def test_an_idle_model_is_never_refused_however_slow_it_was(make_batcher):
    batcher = make_batcher(max_wait_s=0.001)
    batcher.learn(0.001, 1000.0)
    batcher.admit(1, "a", 0.001)
    assert await run(batcher, [1]) == [2]


async def test_the_estimate_recovers_after_slow_batches(make_batcher, model):
    batcher = make_batcher(max_wait_s=5.0)
    batcher.learn(0.001, 1000.0)
    for _ in range(200):
        await run(batcher, [1])
    model.gate.clear()
    running = submit(batcher, 1)
    await model.started()
    assert batcher.predicted_wait_s("a", 0.001) < 1.0
    model.gate.set()
    assert await running == [2]


async def test_one_failing_item_does_not_fail_its_batch(make_batcher, model):
    model.poison = {3}
    batcher = make_batcher()
    answers = await asyncio.gather(*(run(batcher, [number]) for number in (1, 2, 3, 4)))
    assert [answers[0], answers[1], answers[3]] == [[2], [4], [8]]
    assert "failed on [3]" in str(answers[2][0])


async def test_the_items_of_a_failed_batch_are_run_alone(make_batcher, model):
    model.poison = {3}
    batcher = make_batcher()
    await asyncio.gather(*(run(batcher, [number]) for number in (1, 2, 3, 4)))
    assert model.batches == [[1, 2, 3, 4], [1], [2], [3], [4]]


async def test_a_single_item_that_fails_is_not_run_again(make_batcher, model):
    model.poison = {3}
    outcome = (await run(make_batcher(), [3]))[0]
    assert isinstance(outcome, RuntimeError)
    assert model.batches == [[3]]


async def test_an_items_own_fault_is_its_outcome(make_batcher):
    outcomes = await run(make_batcher(), [1, -1, 2])
    assert outcomes[0] == 2
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == 4


async def test_the_batcher_goes_on_after_a_failed_batch(make_batcher, model):
    batcher = make_batcher()
    model.poison = {3}
    await run(batcher, [3])
    assert await run(batcher, [4]) == [8]


async def test_work_whose_caller_has_gone_is_never_run(make_batcher, model):
    batcher = make_batcher()
    model.gate.clear()
    running = submit(batcher, 1)
    await model.started()
    gone, stays = submit(batcher, 2), submit(batcher, 3)
    await queued(batcher, 2)
    gone.cancel()
    model.gate.set()
    assert await stays == [6]
    await running
    assert model.batches == [[1], [3]]
    assert batcher.num_queued == 0


async def test_a_caller_that_goes_during_its_batch_does_not_affect_the_others(make_batcher, model):
    batcher = make_batcher()
    model.gate.clear()
    gone, stays = submit(batcher, 1), submit(batcher, 2)
    await model.started()
    gone.cancel()
    model.gate.set()
    assert await stays == [4]
    assert await run(batcher, [5]) == [10]


async def test_a_queue_of_callers_that_have_all_gone_leaves_the_model_free(make_batcher, model):
    batcher = make_batcher()
    model.gate.clear()
    running = submit(batcher, 1)
    await model.started()
    gone = [submit(batcher, number) for number in (2, 3)]
    await queued(batcher, 2)
    for caller in gone:
        caller.cancel()
    model.gate.set()
    await running
    assert await run(batcher, [9]) == [18]
    assert model.batches == [[1], [9]]


async def test_a_busy_batcher_tells_how_long_its_batch_has_run(make_batcher, model):
    batcher = make_batcher()
    assert batcher.running_for_s() == 0.0
    model.gate.clear()
    running = submit(batcher, 1)
    await model.started()
    assert batcher.running_for_s() > 0.0
    model.gate.set()
    await running
    assert batcher.running_for_s() == 0.0


async def test_each_batch_is_reported_with_a_wait_per_caller(make_batcher):
    reports = []
    batcher = make_batcher(on_batch=reports.append)
    await asyncio.gather(run(batcher, [1, 2]), run(batcher, [3]))
    await asyncio.sleep(0)
    assert [report.num_items for report in reports] == [3]
    assert len(reports[0].queue_waits_s) == 2
    assert min(reports[0].queue_waits_s) >= 0.0


async def test_a_hang_does_not_change_the_time_estimate(make_batcher, model, monkeypatch):
    monkeypatch.setattr("serving.reading.batcher._STUCK_S", 0.1)
    batcher = make_batcher()
    for _ in range(3):
        await run(batcher, [1])
    model.gate.clear()
    hung = submit(batcher, 2)
    await asyncio.sleep(0.3)
    model.gate.set()
    await hung
    await asyncio.sleep(0)
    waiting = submit(batcher, 3)
    await asyncio.sleep(0)
    assert batcher.predicted_wait_s("a", 0.001) < 0.02
    await waiting


async def test_closing_ends_the_thread(model):
    before = set(threading.enumerate())
    batcher = Batcher(
        model,
        name="model",
        max_batch_size=1,
        queue_limit=1,
        max_wait_s=1,
        on_batch=lambda stats: None,
    )
    (thread,) = set(threading.enumerate()) - before
    batcher.close()
    await asyncio.to_thread(thread.join, PATIENCE_S)
    assert not thread.is_alive()


async def test_a_burst_after_an_hour_of_single_items_is_not_refused(make_batcher):
    batcher = make_batcher(max_batch_size=128, queue_limit=1024, max_wait_s=0.2)
    for size in (1, 32) * 3:
        batcher.learn(0.0001 * size, 0.0005 + 0.00003 * size)
    for _ in range(10_000):
        batcher.learn(0.0001, 0.001)

    async def admitted(number):
        batcher.admit(1, "a", 0.0001)
        return await batcher.submit([number], "a", 0.0001)

    answers = await asyncio.gather(*(admitted(number) for number in range(256)))
    assert answers == [[2 * number] for number in range(256)]


async def test_a_late_sender_overtakes_the_queue_of_another(make_batcher, model):
    batcher = make_batcher(max_batch_size=1)
    model.gate.clear()
    hog = [submit(batcher, number, sender="hog") for number in range(20)]
    await model.started()
    await queued(batcher, 19)
    late = submit(batcher, 100, sender="late")
    await queued(batcher, 20)
    model.gate.set()
    await asyncio.gather(late, *hog)
    assert [100] in model.batches[:3]


async def test_a_hog_does_not_use_up_the_queue_or_the_wait_of_others(make_batcher, model):
    batcher = make_batcher(max_batch_size=1, queue_limit=100, max_wait_s=0.030)
    batcher.learn(0.001, 0.001)
    model.gate.clear()
    hog = []
    for number in range(29):
        batcher.admit(1, "hog", 0.001)
        hog.append(submit(batcher, number, sender="hog"))
        await asyncio.sleep(0)
    for number in range(5):
        hog.append(submit(batcher, number, sender="hog"))
        await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="30 ms are accepted"):
        batcher.admit(1, "hog", 0.001)
    batcher.admit(1, "late", 0.001)
    assert batcher.predicted_wait_s("late", 0.001) < 0.005
    model.gate.set()
    await asyncio.gather(*hog)


async def test_a_batch_is_limited_by_its_predicted_time(make_batcher, model):
    batcher = make_batcher(max_batch_size=100)
    batcher.learn(0.001, 0.001)
    await asyncio.gather(*(batcher.submit([number], "a", 0.003) for number in range(6)))
    assert [len(batch) for batch in model.batches] == [2, 2, 2]


async def test_a_job_longer_than_a_batch_runs_alone(make_batcher, model):
    batcher = make_batcher(max_batch_size=100)
    await asyncio.gather(
        batcher.submit([1], "a", 1.0), batcher.submit([2], "a", 0.001), return_exceptions=False
    )
    assert model.batches == [[1], [2]]


async def test_a_function_runs_alone_and_in_its_turn(make_batcher, model):
    batcher = make_batcher()
    order = []
    model.gate.clear()
    running = submit(batcher, 1)
    await model.started()
    called = asyncio.ensure_future(batcher.call(lambda: order.append(2) or "done", "a", 0.001))
    await asyncio.sleep(0)
    later = submit(batcher, 3)
    await queued(batcher, 1)
    model.gate.set()
    assert await asyncio.gather(running, called, later) == [[2], "done", [6]]
    assert model.batches == [[1], [3]]


async def test_a_functions_error_is_raised_and_leaves_no_cycle(make_batcher):
    batcher = make_batcher()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with contextlib.suppress(ZeroDivisionError):
                await batcher.call(lambda: 1 // 0, "a", 0.001)
                pytest.fail("the error was not raised")
        assert await run(batcher, [1]) == [2]
        # Not isinstance: it asks each object for its class, and one of torch's then warns.
        assert not [one for one in gc.get_objects() if type(one) is ZeroDivisionError]
    finally:
        gc.enable()


async def test_a_function_whose_caller_has_gone_is_not_called(make_batcher, model):
    batcher = make_batcher()
    model.gate.clear()
    running = submit(batcher, 1)
    await model.started()
    called = []
    gone = asyncio.ensure_future(batcher.call(lambda: called.append(1), "a", 0.001))
    await asyncio.sleep(0)
    gone.cancel()
    model.gate.set()
    await running
    await run(batcher, [2])
    assert not called
