"""Adaptive micro-batching: items that wait together run in one batch.

Work-conserving: when the model becomes free, the batcher dispatches what is queued. An idle model
waits for more items for one event-loop turn at most, a burst forms large batches, and there is no
window to tune.
Knows nothing of crops, digits or HTTP: it batches items for any function that returns one outcome
per item.

Callers use all methods on the event loop. Only the function runs on another thread, always the
same one.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

from serving.messages import BatchStats
from serving.problems import Overloaded
from serving.reading.batch_time import BatchTimeModel

Item = TypeVar("Item")
Result = TypeVar("Result")

_STUCK_S: Final = 1.0  # a batch takes milliseconds; a busy machine may suspend it for longer


@dataclass(slots=True)
class _Job(Generic[Item, Result]):
    """The items that one caller submitted together."""

    items: Sequence[Item]
    answer: asyncio.Future[list[Result | Exception]]
    queued_at: float


class Batcher(Generic[Item, Result]):
    """Batches items of concurrent callers for `run`.

    Args:
        run: B items -> B outcomes; where one item is at fault, its outcome is the error as a
            value. Called on the batcher's own thread. If it raises, each item runs again alone.
        max_batch_size: the most items in one call.
        queue_limit: the most items that may wait.
        max_wait_s: work is refused if its predicted wait is longer.
        on_batch: called on the event loop after each batch.
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
        # A daemon thread, not an executor: a model call that hangs must not block process exit.
        threading.Thread(target=self._work, name="model", daemon=True).start()

    @property
    def num_queued(self) -> int:
        """Items in the queue now."""
        return self._num_queued

    def running_for_s(self) -> float:
        """How long the running batch has been running; 0 when the model is free."""
        return time.perf_counter() - self._running_since if self._num_running else 0.0

    def predicted_wait_s(self) -> float:
        """Predicted wait of work that arrives now, until its batch starts."""
        waiting = 0.0
        if self._num_running:
            expected = self._times.predict(self._num_running, self._max_batch_size)
            running = self.running_for_s()
            # A batch far beyond its predicted time hangs. Assume that it needs as long again.
            waiting = running if running > _STUCK_S else max(expected - running, 0.0)
        if self._num_queued:
            waiting += self._times.predict(self._num_queued, self._max_batch_size)
        return waiting

    async def submit(self, items: Sequence[Item]) -> list[Result | Exception]:
        """Run up to max_batch_size items, in one batch with other items that wait.

        Returns:
            One outcome per item, in order; the outcome of an item at fault is its error.

        Raises:
            Overloaded: the queue is full, or the predicted wait is too long.
        """
        self._admit(len(items))
        loop = asyncio.get_running_loop()
        job = _Job[Item, Result](items, loop.create_future(), time.perf_counter())
        self._queue.append(job)
        self._num_queued += len(items)
        if not self._num_running and not self._is_dispatch_due:
            if self._was_one_job:
                # The previous batch had one caller, so dispatch now instead of waiting one
                # event-loop turn (`python -m loadtest bench --parts latency`). The tests compare
                # the answers with those of a batcher that always waits.
                self._dispatch(loop)
            else:  # wait one turn: other items that arrive in it join this batch
                self._is_dispatch_due = True
                loop.call_soon(self._dispatch, loop)
        return await job.answer

    def learn(self, num_items: int, seconds: float) -> None:
        """Add a batch that the caller timed to the time estimate."""
        self._times.update(num_items, seconds)

    def close(self) -> None:
        """Stop the thread after the running batch."""
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
        """Start a batch of what waits. Runs on the event loop, never while a batch runs."""
        self._is_dispatch_due = False
        jobs = self._take()
        if not jobs:
            return
        self._num_running = sum(len(job.items) for job in jobs)
        self._was_one_job = len(jobs) == 1
        self._running_since = time.perf_counter()
        self._batches.put(partial(self._run_jobs, loop, jobs))

    def _take(self) -> list[_Job[Item, Result]]:
        """Take jobs in order of arrival up to the batch size; drop jobs whose caller has gone."""
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
        """Run batches until closed. Runs on the batcher's thread."""
        while (batch := self._batches.get()) is not None:
            batch()

    def _run_jobs(self, loop: asyncio.AbstractEventLoop, jobs: list[_Job[Item, Result]]) -> None:
        """Run one batch. Runs on the batcher's thread."""
        started = time.perf_counter()
        outcomes = self._outcomes([item for job in jobs for item in job.items])
        run_s = time.perf_counter() - started
        try:  # noqa: SIM105  contextlib.suppress costs more, once per batch
            loop.call_soon_threadsafe(self._finish, loop, jobs, outcomes, started, run_s)
        except RuntimeError:
            pass  # the loop closed at shutdown, so no caller waits

    def _outcomes(self, items: Sequence[Item]) -> list[Result | Exception]:
        """Run the items together; if that fails, run each alone."""
        try:
            return self._run(items)
        except Exception as error:  # noqa: BLE001  every error is handed to its caller
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
        """Give each caller its outcomes, then start the next batch. Runs on the event loop."""
        num_items, self._num_running = self._num_running, 0
        start = 0
        for job in jobs:
            end = start + len(job.items)
            if not job.answer.done():  # done: its caller has gone
                job.answer.set_result(outcomes[start:end])
            start = end
        # call_soon: the loop writes the answers first. A batch that started before them would
        # compete for the GIL (`python -m loadtest bench --parts saturation latency`).
        if self._queue:
            self._is_dispatch_due = True
            loop.call_soon(self._dispatch, loop)
        loop.call_soon(self._learn, jobs, num_items, started, run_s)

    def _learn(
        self, jobs: list[_Job[Item, Result]], num_items: int, started: float, run_s: float
    ) -> None:
        """Add a finished batch to the time estimate, and report it."""
        if run_s < _STUCK_S:  # a hang says nothing about the next batch, and would have it refused
            self._times.update(num_items, run_s)
        waits = [started - job.queued_at for job in jobs]
        self._on_batch(BatchStats(num_items, waits, run_s))
