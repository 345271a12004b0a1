"""The jobs of many senders, in fair order: each sender gets an equal share of the time.

Each sender has its own queue. The next job is the one whose sender has been served least, counted
in predicted seconds. A sender that was idle gets no credit for it; a sender that is alone gets all
the time.
Knows nothing about what a job is.

Source:
    Goyal, Vin and Cheng, "Start-time fair queueing: a scheduling algorithm for integrated services
    packet switching networks", IEEE/ACM Transactions on Networking, 1997.
"""

from collections import deque
from collections.abc import Hashable
from heapq import heappop, heappush, heapreplace
from itertools import count
from typing import Final, Generic, TypeVar

Job = TypeVar("Job")

_KEEP_SENDERS: Final = 256  # senders remembered before the idle ones are looked for


class _Flow(Generic[Job]):
    """One sender's jobs, in order of arrival."""

    __slots__ = ("cost_s", "debt_s", "finish_s", "jobs", "num_items")

    def __init__(self) -> None:
        self.jobs: deque[tuple[Job, int, float]] = deque()  # (job, number of items, cost)
        self.finish_s = 0.0  # virtual time at which its last started job ends
        self.debt_s = 0.0  # to be charged while it has jobs; negative: to be given back
        self.cost_s = 0.0  # of all its jobs
        self.num_items = 0  # in all its jobs


class FairQueue(Generic[Job]):
    """A queue with fair order between senders and order of arrival within each."""

    def __init__(self) -> None:
        self._flows: dict[Hashable, _Flow[Job]] = {}
        # A heap of (virtual start, arrival, flow), one for each flow that has jobs.
        self._heads: list[tuple[float, int, _Flow[Job]]] = []
        self._arrivals = count()
        self._now_s = 0.0  # virtual time: the start of the job that was taken last
        self._busy_until_s = 0.0  # virtual time at which all started jobs have ended
        self._purge_at = _KEEP_SENDERS
        self.num_items = 0
        self.cost_s = 0.0

    def __len__(self) -> int:
        """Senders that have jobs."""
        return len(self._heads)

    @property
    def num_remembered(self) -> int:
        """Senders of which something is stored."""
        return len(self._flows)

    def num_items_of(self, sender: Hashable) -> int:
        """Items that wait for one sender."""
        flow = self._flows.get(sender)
        return 0 if flow is None else flow.num_items

    def cost_before_s(self, sender: Hashable, cost_s: float) -> float:
        """Predicted seconds of the jobs that start before a new job of this sender.

        These are its own jobs, and of each other sender as much as its share allows until then.
        """
        if not self._heads:
            return 0.0
        flow = self._flows.get(sender)
        own_s = 0.0 if flow is None else flow.cost_s
        num_others = len(self._heads) - (own_s > 0.0)
        if not num_others:
            return own_s
        return own_s + min(self.cost_s - own_s, num_others * (own_s + cost_s))

    def push(self, sender: Hashable, job: Job, num_items: int, cost_s: float) -> None:
        """Add a job.

        Args:
            sender: whose share it is charged to.
            job: returned by `head`.
            num_items: counted while it waits.
            cost_s: predicted seconds that it takes.
        """
        flow = self._flows.get(sender)
        if flow is None:
            if len(self._flows) >= self._purge_at:
                self._purge()
            flow = self._flows[sender] = _Flow()
        if not flow.jobs:
            start_s = flow.finish_s if flow.finish_s > self._now_s else self._now_s
            heappush(self._heads, (start_s, next(self._arrivals), flow))
        flow.jobs.append((job, num_items, cost_s))
        flow.num_items += num_items
        flow.cost_s += cost_s
        self.num_items += num_items
        self.cost_s += cost_s

    def head(self) -> Job | None:
        """The job that is next; None if there is none."""
        while self._heads:
            start_s, arrival, flow = self._heads[0]
            if flow.debt_s <= 0.0:
                return flow.jobs[0][0]
            heapreplace(self._heads, (start_s + flow.debt_s, arrival, flow))
            flow.debt_s = 0.0
        return None

    def pop(self) -> None:
        """Take the job that `head` returned, and charge it to its sender."""
        start_s, _, flow = self._heads[0]
        self._now_s = start_s
        finish_s = start_s + flow.jobs[0][2]
        if finish_s > self._busy_until_s:
            self._busy_until_s = finish_s
        self._remove(flow, finish_s)

    def drop(self) -> None:
        """Remove the job that `head` returned, and charge nobody."""
        start_s, _, flow = self._heads[0]
        self._remove(flow, start_s)

    def charge(self, sender: Hashable, cost_s: float) -> None:
        """Charge a sender for a job that took so much longer than predicted.

        Its next job waits, too: it may have come before the charge. If `cost_s` is negative, the
        job took less: its next job keeps its place, and those after it come earlier.
        """
        flow = self._flows.get(sender)
        if flow is None:
            return
        if flow.jobs:
            flow.debt_s += cost_s
        else:
            flow.finish_s += cost_s
            self._busy_until_s = max(self._busy_until_s, flow.finish_s)

    def rest(self) -> None:
        """Note that nothing runs and nothing waits: nobody has an advance or a debt any more."""
        self._now_s = self._busy_until_s

    def _remove(self, flow: _Flow[Job], finish_s: float) -> None:
        """Remove a flow's first job, which ends at this virtual time."""
        _, num_items, cost_s = flow.jobs.popleft()
        if flow.debt_s:
            finish_s += flow.debt_s
            flow.debt_s = 0.0
        flow.finish_s = finish_s
        flow.num_items -= num_items
        self.num_items -= num_items
        if flow.jobs:
            flow.cost_s -= cost_s
            self.cost_s -= cost_s
            heapreplace(self._heads, (finish_s, next(self._arrivals), flow))
            return
        # Sums of floats drift; an empty queue costs exactly nothing.
        flow.cost_s = 0.0
        heappop(self._heads)
        self.cost_s = self.cost_s - cost_s if self._heads else 0.0

    def _purge(self) -> None:
        """Forget senders that have no jobs and no debt: a new entry would be the same."""
        self._flows = {
            sender: flow
            for sender, flow in self._flows.items()
            if flow.jobs or flow.finish_s > self._now_s
        }
        self._purge_at = 2 * len(self._flows) + _KEEP_SENDERS
