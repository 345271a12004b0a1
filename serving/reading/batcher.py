"""Adaptive micro-batching, fair between senders: items that wait together run in one batch.

Work-conserving: when the model becomes free, the batcher dispatches what is queued. An idle model
waits for more items for one event-loop turn at most, a burst forms large batches, and there is no
window to tune. Senders have equal shares of the time (serving/reading/fair_queue.py).
Knows nothing of crops, digits or HTTP: it batches items for any function that returns one outcome
per item.

Callers use all methods on the event loop. Only the functions run on another thread, always the
same one.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from serving.messages import BatchStats
from serving.problems import Overloaded
from serving.reading.batch_time import BatchTimeModel
from serving.reading.fair_queue import FairQueue
from serving.shares import is_within_share

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")

# Predicted seconds of crops in one batch, for which a newcomer may wait. Not corrected for a slow
# moment of the machine: smaller batches would make it slower.
MAX_BATCH_S: Final = 0.006
_STUCK_S: Final = 1.0  # a batch takes milliseconds; a busy machine may suspend it for longer
_MISPREDICTED_S: Final = 0.0002  # work that took so much longer, or less, corrects the charge


@dataclass(slots=True)
class _Job(Generic[Item]):
    """What one caller submitted: items, or one function that runs alone."""

    items: Sequence[Item]
    function: Callable[[], Any] | None
    answer: asyncio.Future[Any]
    sender: Hashable
    cost_s: float
    queued_at: float


class Batcher(Generic[Item, Result]):
    """Batches items of concurrent callers for `run`.

    Args:
        run: B items -> B outcomes; where one item is at fault, its outcome is the error as a
            value. Called on the batcher's own thread. If it raises, each item runs again alone.
        name: of the thread.
        max_batch_size: the most items in one call.
        queue_limit: the most items that may wait; one sender's share of it is at most half.
        max_wait_s: work is refused if its predicted wait is longer.
        on_batch: called on the event loop after each batch.
        max_batch_s: predicted seconds in one batch; where one item takes longer, it runs alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], list[Result | Exception]],
        *,
        name: str,
        max_batch_size: int,
        queue_limit: int,
        max_wait_s: float,
        on_batch: Callable[[BatchStats], None],
        max_batch_s: float = MAX_BATCH_S,
    ) -> None:
        self._run = run
        self._max_batch_s = max_batch_s
        self._max_batch_size = max_batch_size
        self._queue_limit = queue_limit
        self._max_wait_s = max_wait_s
        self._on_batch = on_batch
        self._queue: FairQueue[_Job[Item]] = FairQueue()
        self._running: list[_Job[Item]] = []
        self._running_cost_s = 0.0
        self._running_since = 0.0
        self._is_dispatch_due = False
        self._was_one_job = False
        self._times = BatchTimeModel()
        self._batches: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon thread, not an executor: a model call that hangs must not block process exit.
        threading.Thread(target=self._work, name=name, daemon=True).start()

    @property
    def num_queued(self) -> int:
        """Items in the queue now."""
        return self._queue.num_items

    def running_for_s(self) -> float:
        """How long the running batch has been running; 0 when the model is free."""
        return time.perf_counter() - self._running_since if self._running else 0.0

    def predicted_wait_s(self, sender: Hashable, cost_s: float) -> float:
        """Predicted wait of a sender's work that arrives now, until its batch starts."""
        running_s = self.running_for_s()
        rest_s = self._times.predict(self._running_cost_s, 1) - running_s if running_s else 0.0
        return max(rest_s, self._hanging_for_s()) + self._queued_before_s(sender, cost_s)

    def admit(self, num_items: int, sender: Hashable, cost_s: float) -> None:
        """Check whether a sender may submit so many items now.

        The rest of a running batch is no reason to refuse: it is short, and the sender may have
        nothing to do with it. A batch that hangs is one.

        Raises:
            Overloaded: its share of the queue is full, or its predicted wait is too long.
        """
        queue = self._queue
        own = queue.num_items_of(sender)
        if not is_within_share(self._queue_limit, queue.num_items, own, num_items):
            raise Overloaded(
                f"{queue.num_items} items are waiting, {own} of them yours; the limit is "
                f"{self._queue_limit}, and one sender may hold as many as it leaves free; "
                "send fewer at once",
                self.predicted_wait_s(sender, cost_s),
            )
        wait_s = self._hanging_for_s() + self._queued_before_s(sender, cost_s)
        if wait_s > self._max_wait_s:
            raise Overloaded(
                f"the predicted wait is {wait_s * 1e3:.0f} ms; "
                f"at most {self._max_wait_s * 1e3:.0f} ms are accepted; send fewer at once",
                self.predicted_wait_s(sender, cost_s),
            )

    def _hanging_for_s(self) -> float:
        """How long a batch that hangs has been running: assume that it needs as long again."""
        running_s = self.running_for_s()
        return running_s if running_s > _STUCK_S else 0.0

    def _queued_before_s(self, sender: Hashable, cost_s: float) -> float:
        """Predicted seconds of the queued work that starts before a sender's new work."""
        before_s = self._queue.cost_before_s(sender, cost_s)
        if before_s <= 0.0:
            return 0.0
        num_items = self._queue.num_items * before_s / self._queue.cost_s
        num_batches = max(
            math.ceil(num_items / self._max_batch_size), math.ceil(before_s / self._max_batch_s)
        )
        return self._times.predict(before_s, num_batches)

    async def submit(
        self, items: Sequence[Item], sender: Hashable, cost_s: float
    ) -> list[Result | Exception]:
        """Run up to max_batch_size items, in one batch with other items that wait.

        Args:
            items: of one caller.
            sender: whose share of the time they take.
            cost_s: predicted seconds for all of them, without the batch's fixed part; above 0.

        Returns:
            One outcome per item, in order; the outcome of an item at fault is its error.
        """
        if len(items) > self._max_batch_size:
            raise ValueError(
                f"{len(items)} items submitted at once; at most {self._max_batch_size}"
            )
        outcomes: list[Result | Exception] = await self._enqueue(items, None, sender, cost_s)
        return outcomes

    async def call(self, function: Callable[[], Value], sender: Hashable, cost_s: float) -> Value:
        """Run a function alone on the batcher's thread, when it is its sender's turn.

        Raises:
            Exception: what the function raises.
        """
        outcome: list[Any] = await self._enqueue((), function, sender, cost_s)
        error, value = outcome.pop(), outcome.pop()
        if error is not None:
            # Its traceback refers to this frame and to the thread's, which refers to the outcome:
            # leave no cycle.
            try:
                raise error
            finally:
                del error
        result: Value = value
        return result

    def charge(self, sender: Hashable, excess_s: float) -> None:
        """Correct what a sender was charged for work by what it took longer than predicted."""
        if abs(excess_s) > _MISPREDICTED_S:
            self._queue.charge(sender, excess_s)

    def learn(self, cost_s: float, seconds: float) -> None:
        """Add a batch that the caller timed to the time estimate."""
        self._times.update(cost_s, seconds)

    def close(self) -> None:
        """Stop the thread after the running batch."""
        self._batches.put(None)

    def _enqueue(
        self,
        items: Sequence[Item],
        function: Callable[[], Any] | None,
        sender: Hashable,
        cost_s: float,
    ) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        job = _Job(items, function, answer, sender, cost_s, time.perf_counter())
        self._queue.push(sender, job, len(items), cost_s)
        if not self._running and not self._is_dispatch_due:
            if self._was_one_job:
                # The previous batch had one caller, so dispatch now instead of waiting one
                # event-loop turn (`python -m loadtest bench --parts latency`). The tests compare
                # the answers with those of a batcher that always waits.
                self._dispatch(loop)
            else:  # wait one turn: other items that arrive in it join this batch
                self._is_dispatch_due = True
                loop.call_soon(self._dispatch, loop)
        return answer

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a batch of what waits. Runs on the event loop, never while a batch runs."""
        self._is_dispatch_due = False
        self._running = jobs = self._take()
        if not jobs:
            self._queue.rest()
            return
        self._was_one_job = len(jobs) == 1
        self._running_since = time.perf_counter()
        self._batches.put(partial(self._run_jobs, loop, jobs))

    def _take(self) -> list[_Job[Item]]:
        """Take jobs in fair order up to the batch's size and time; drop those without a caller.

        A job whose caller has gone is not charged to its sender.
        """
        queue, jobs = self._queue, list[_Job[Item]]()
        num_items, cost_s = 0, 0.0
        while (job := queue.head()) is not None:
            if job.answer.done():
                queue.drop()
                continue
            if jobs and (
                num_items + len(job.items) > self._max_batch_size
                or cost_s + job.cost_s > self._max_batch_s
                or job.function is not None
                or jobs[0].function is not None
            ):
                break
            queue.pop()
            jobs.append(job)
            num_items += len(job.items)
            cost_s += job.cost_s
        self._running_cost_s = cost_s
        return jobs

    def _work(self) -> None:
        """Run batches until closed. Runs on the batcher's thread."""
        while (batch := self._batches.get()) is not None:
            batch()

    def _run_jobs(self, loop: asyncio.AbstractEventLoop, jobs: list[_Job[Item]]) -> None:
        """Run one batch, or one function. Runs on the batcher's thread."""
        started = time.perf_counter()
        function = jobs[0].function
        outcomes = (
            self._outcomes([item for job in jobs for item in job.items])
            if function is None
            else _call(function)
        )
        run_s = time.perf_counter() - started
        try:  # noqa: SIM105  contextlib.suppress costs more, once per batch
            loop.call_soon_threadsafe(self._finish, loop, outcomes, started, run_s)
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
        self, loop: asyncio.AbstractEventLoop, outcomes: Any, started: float, run_s: float
    ) -> None:
        """Give each caller its outcomes, then start the next batch. Runs on the event loop."""
        jobs, cost_s, self._running = self._running, self._running_cost_s, []
        if jobs[0].function is not None:
            if not jobs[0].answer.done():  # done: its caller has gone
                jobs[0].answer.set_result(outcomes)
        else:
            start = 0
            for job in jobs:
                end = start + len(job.items)
                if not job.answer.done():
                    job.answer.set_result(outcomes[start:end])
                start = end
        # call_soon: the loop writes the answers first. A batch that started before them would
        # compete for the GIL (`python -m loadtest bench --parts saturation latency`).
        if self._queue:
            self._is_dispatch_due = True
            loop.call_soon(self._dispatch, loop)
        else:
            self._queue.rest()
        loop.call_soon(self._learn, jobs, cost_s, started, run_s)

    def _learn(self, jobs: list[_Job[Item]], cost_s: float, started: float, run_s: float) -> None:
        """Add a finished batch to the time estimate, and report it."""
        if jobs[0].function is not None:
            self.charge(jobs[0].sender, run_s - cost_s)
            return
        if run_s < _STUCK_S:  # a hang says nothing about the next batch, and would have it refused
            self._times.update(cost_s, run_s)
        waits = [started - job.queued_at for job in jobs]
        self._on_batch(BatchStats(sum(len(job.items) for job in jobs), waits, run_s))


def _call(function: Callable[[], Any]) -> list[Any]:
    """[the function's value, its error]; one of them is None."""
    try:
        return [function(), None]
    except Exception as error:  # noqa: BLE001  every error is handed to its caller
        return [None, error]
