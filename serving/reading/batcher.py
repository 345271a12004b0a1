"""Adaptive micro-batching: crops that wait together are read together.

Work-conserving: whatever is queued goes to the model the moment it is free, so an idle machine
never waits for company and a burst forms large batches by itself. There is no window to tune.
Knows nothing of crops, digits or HTTP: it batches items for any function that answers one outcome
per item.

All methods are called on the event loop; only the function runs elsewhere, on one thread.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Final, Generic, NamedTuple, TypeVar

from serving.reading.batch_time import BatchTimeModel

Item = TypeVar("Item")
Result = TypeVar("Result")

_STUCK_S: Final = 1.0  # a batch takes milliseconds; a busy machine may take it away for a while


class Overloaded(Exception):
    """The answer would come too late, so the work is refused now."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class _Job(Generic[Item, Result]):
    """Items that one caller wants answered together."""

    items: Sequence[Item]
    answer: asyncio.Future[list[Result | Exception]]
    queued_at: float


class BatchStats(NamedTuple):
    """What telemetry hears of one finished batch."""

    num_items: int
    queue_waits_s: Sequence[float]  # one for each job
    run_s: float


class Batcher(Generic[Item, Result]):
    """Batches items of concurrent callers for `run`.

    Args:
        run: B items -> B outcomes, an error as a value where one item alone is at fault. Called
            on the batcher's own thread. If it raises, each job is run again by itself.
        max_batch_size: most items in one call.
        queue_limit: most items that may wait.
        max_wait_s: refuse work whose predicted wait is longer.
        on_batch: told of each finished batch, on the event loop.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], list[Result | Exception]],
        *,
        max_batch_size: int,
        queue_limit: int,
        max_wait_s: float,
        on_batch: Callable[[BatchStats], None],
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._queue_limit = queue_limit
        self._max_wait_s = max_wait_s
        self._on_batch = on_batch
        self._queue: deque[_Job[Item, Result]] = deque()
        self._num_queued = 0
        self._num_running = 0
        self._running_since = 0.0
        self._is_dispatch_due = False
        self._was_one_job = False
        self._times = BatchTimeModel()
        self._batches: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon, not an executor: a model call that hangs must not keep the process from ending.
        threading.Thread(target=self._work, name="model", daemon=True).start()

    @property
    def num_queued(self) -> int:
        """Items waiting now."""
        return self._num_queued

    def running_for_s(self) -> float:
        """How long the batch now in the model has been there; 0 when the model is free."""
        return time.perf_counter() - self._running_since if self._num_running else 0.0

    def predicted_wait_s(self) -> float:
        """How long work that arrives now would wait before its own batch starts."""
        waiting = 0.0
        if self._num_running:
            expected = self._times.predict(self._num_running, self._max_batch_size)
            running = self.running_for_s()
            # A batch far over its time hangs: what has lasted long may last as long again.
            waiting = running if running > _STUCK_S else max(expected - running, 0.0)
        if self._num_queued:
            waiting += self._times.predict(self._num_queued, self._max_batch_size)
        return waiting

    async def submit(self, items: Sequence[Item]) -> list[Result | Exception]:
        """Run up to max_batch_size items in one batch with whatever else waits.

        Returns:
            One outcome per item, in order; an item at fault has its error in its place.

        Raises:
            Overloaded: the queue is full, or the predicted wait is too long.
        """
        self._admit(len(items))
        loop = asyncio.get_running_loop()
        job = _Job[Item, Result](items, loop.create_future(), time.perf_counter())
        self._queue.append(job)
        self._num_queued += len(items)
        if not self._num_running and not self._is_dispatch_due:
            if self._was_one_job:  # so is this one, most likely: it is spared a turn of the loop
                self._dispatch(loop)
            else:  # others whose bytes came in the same tick join this batch
                self._is_dispatch_due = True
                loop.call_soon(self._dispatch, loop)
        return await job.answer

    def learn(self, num_items: int, seconds: float) -> None:
        """Take a batch that was run elsewhere into the estimate."""
        self._times.update(num_items, seconds)

    def close(self) -> None:
        """Let the running batch end and stop the thread."""
        self._batches.put(None)

    def _admit(self, num_items: int) -> None:
        if num_items > self._max_batch_size:
            raise ValueError(f"{num_items} items submitted at once; at most {self._max_batch_size}")
        wait_s = self.predicted_wait_s()
        if self._num_queued + num_items > self._queue_limit:
            raise Overloaded(
                f"{self._num_queued} crops are waiting; the limit is {self._queue_limit}", wait_s
            )
        if wait_s > self._max_wait_s:
            raise Overloaded(
                f"the predicted wait is {wait_s * 1e3:.0f} ms; "
                f"at most {self._max_wait_s * 1e3:.0f} ms are accepted",
                wait_s,
            )

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the model what waits. Runs on the event loop, never while a batch is running."""
        self._is_dispatch_due = False
        jobs = self._take()
        if not jobs:
            return
        self._num_running = sum(len(job.items) for job in jobs)
        self._was_one_job = len(jobs) == 1
        self._running_since = time.perf_counter()
        self._batches.put(partial(self._run_jobs, loop, jobs))

    def _take(self) -> list[_Job[Item, Result]]:
        """Take jobs in order of arrival up to the batch size, dropping those nobody waits for."""
        jobs: list[_Job[Item, Result]] = []
        num_items = 0
        while self._queue:
            job = self._queue[0]
            if not job.answer.done():
                if num_items + len(job.items) > self._max_batch_size:
                    break
                jobs.append(job)
                num_items += len(job.items)
            self._queue.popleft()
            self._num_queued -= len(job.items)
        return jobs

    def _work(self) -> None:
        """Run batches until closed. On the batcher's thread."""
        while (batch := self._batches.get()) is not None:
            batch()

    def _run_jobs(self, loop: asyncio.AbstractEventLoop, jobs: list[_Job[Item, Result]]) -> None:
        """Run one batch. On the batcher's thread."""
        started = time.perf_counter()
        outcomes = self._outcomes([item for job in jobs for item in job.items])
        run_s = time.perf_counter() - started
        try:  # noqa: SIM105  contextlib.suppress is a class in Python, run for each lone crop
            loop.call_soon_threadsafe(self._finish, loop, jobs, outcomes, started, run_s)
        except RuntimeError:
            pass  # the loop has closed at shutdown: nobody waits on it any more

    def _outcomes(self, items: Sequence[Item]) -> list[Result | Exception]:
        """Run items together, or each by itself where together fails."""
        try:
            return self._run(items)
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to a caller
            if len(items) == 1:
                return [error]
        return [self._outcomes([item])[0] for item in items]

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        jobs: list[_Job[Item, Result]],
        outcomes: list[Result | Exception],
        started: float,
        run_s: float,
    ) -> None:
        """Hand out the outcomes and start the next batch. Runs on the event loop."""
        num_items, self._num_running = self._num_running, 0
        start = 0
        for job in jobs:
            end = start + len(job.items)
            if not job.answer.done():  # else its caller has gone
                job.answer.set_result(outcomes[start:end])
            start = end
        # After the answers have been written: a batch that starts earlier takes the interpreter's
        # lock from them, and nobody who waits for an answer waits for our counting.
        if self._queue:
            self._is_dispatch_due = True
            loop.call_soon(self._dispatch, loop)
        loop.call_soon(self._learn, jobs, num_items, started, run_s)

    def _learn(
        self, jobs: list[_Job[Item, Result]], num_items: int, started: float, run_s: float
    ) -> None:
        """Take a finished batch into the estimate, and tell of it."""
        if run_s < _STUCK_S:  # a hang tells nothing of the next batch, which it would have refused
            self._times.update(num_items, run_s)
        waits = [started - job.queued_at for job in jobs]
        self._on_batch(BatchStats(num_items, waits, run_s))
