"""The discrete-event model: requests, tasks that start and drain, metrics that arrive late.

Between two events (a metric becomes visible, a task is ready, a scheduled action runs) the number
of cores does not change, so the requests between them go through the queue in one loop.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtest.simulator.arrivals import Traffic
from loadtest.simulator.policies import (
    PUBLISH_DELAY_S,
    AutoScaler,
    Plan,
    StepScaling,
    TargetTracking,
)
from loadtest.simulator.queueing import REFUSED, Cores
from loadtest.simulator.service_times import Times

WEEK_MIN: Final = 7 * 24 * 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one simulation."""

    arrivals_s: NDArray[np.float64]  # (N,)
    latency_ms: NDArray[np.float64]  # (N,) nan where refused
    wait_s: NDArray[np.float64]  # (N,) nan where refused
    tasks: list[tuple[float, int, int]]  # (from when, desired, in service)
    task_s: float  # paid task-seconds: starting, in service and draining
    duration_s: float

    @property
    def shed_frac(self) -> float:
        """Share of requests refused."""
        return float(np.isnan(self.wait_s).mean()) if len(self.wait_s) else 0.0

    def percentile_ms(self, percent: float) -> float:
        """A latency percentile of the requests that were answered."""
        answered = self.latency_ms[~np.isnan(self.latency_ms)]
        return float(np.percentile(answered, percent)) if answered.size else float("inf")

    @property
    def mean_tasks(self) -> float:
        """Tasks paid for, on average."""
        return self.task_s / self.duration_s

    def max_tasks(self) -> int:
        """The most tasks in service."""
        return max(running for _, _, running in self.tasks)


@dataclass(slots=True)
class _Period:
    """The current period of one policy's metric."""

    policy: TargetTracking | StepScaling
    starts_s: float = 0.0
    requests: int = 0
    busy_s: float = 0.0
    carried_s: float = 0.0  # work left over from earlier periods
    core_s: float = 0.0
    task_s: float = 0.0

    def value(self) -> float | None:
        """The period's datapoint; None when no request came (the load balancer sends none)."""
        if self.policy.metric == "cpu_percent":
            work = self.busy_s + self.carried_s
            done = min(work, self.core_s)
            self.carried_s = work - done
            return 100 * done / self.core_s if self.core_s else None
        if not self.requests or not self.task_s:
            return None
        tasks = self.task_s / self.policy.period_s
        return self.requests * (60 / self.policy.period_s) / tasks

    def restart(self, now_s: float) -> None:
        """Begin the next period."""
        self.starts_s, self.requests, self.busy_s = now_s, 0, 0.0
        self.core_s = self.task_s = 0.0


@dataclass(slots=True)
class Simulation:
    """One simulation. Build it and call `run`.

    Args:
        plan: limits, policies and task facts.
        traffic: the requests.
        service: service times of one core.
        rng: for service times and unloaded latencies.
        start_minute: minute of the week at which the run starts, for schedules (Monday 00:00: 0).
    """

    plan: Plan
    traffic: Traffic
    service: Times
    rng: np.random.Generator
    start_minute: int = 0
    cores: Cores = field(default_factory=Cores)
    running: int = 0
    starting: list[int] = field(default_factory=list)  # tickets of tasks that are not ready yet
    tasks: list[tuple[float, int, int]] = field(default_factory=list)
    task_s: float = 0.0
    now_s: float = 0.0
    done: int = 0  # requests served so far

    def run(self) -> Outcome:
        """Simulate all of the traffic."""
        scaler = AutoScaler(self.plan)
        self._first_limits(scaler)
        self.running = scaler.desired
        self._resize()
        self._record_tasks(scaler)
        services_s = self.service.draw_s(len(self.traffic.arrivals_s), self.rng)
        services_s /= min(1.0, self.plan.vcpus)  # a part of a core is a slower core
        periods = [_Period(policy) for policy in self.plan.policies]
        waits: list[NDArray[np.float64]] = []
        events = _Events()
        self._plan_events(events, scaler, periods)
        while self.now_s < self.traffic.duration_s:
            until_s = min(events.next_s(), self.traffic.duration_s)
            waits.append(self._serve(until_s, services_s, periods))
            self.now_s = until_s
            events.run_due(until_s)
            self._reconcile(scaler, events)
        return self._outcome(np.concatenate(waits) if waits else np.zeros(0))

    def _serve(
        self, until_s: float, services_s: NDArray[np.float64], periods: list[_Period]
    ) -> NDArray[np.float64]:
        span_s = until_s - self.now_s
        self.task_s += span_s * (self.running + len(self.starting))
        last = int(np.searchsorted(self.traffic.arrivals_s, until_s))
        chosen = slice(self.done, last)
        self.done = last
        waits = self.cores.serve(
            self.traffic.arrivals_s[chosen], services_s[chosen], self.service.max_wait_ms / 1e3
        )
        busy_s = float(services_s[chosen][waits != REFUSED].sum())
        for period in periods:
            period.requests += len(waits)
            period.busy_s += busy_s
            period.core_s += span_s * len(self.cores.free_at_s)
            period.task_s += span_s * self.running
        return waits

    def _plan_events(self, events: "_Events", scaler: AutoScaler, periods: list[_Period]) -> None:
        for period in periods:
            self._plan_period(events, scaler, period)
        for action in self.plan.schedule:
            first_s = 60.0 * ((action.minute_of_week - self.start_minute) % WEEK_MIN)
            low, high = action.min_tasks, action.max_tasks
            for at_s in np.arange(first_s, self.traffic.duration_s, 60.0 * WEEK_MIN):
                if at_s > 0:
                    events.add(float(at_s), partial(scaler.limits, low, high))
        self._plan_forecast(events, scaler)

    def _plan_forecast(self, events: "_Events", scaler: AutoScaler) -> None:
        """A perfect forecast: the busiest minute of each hour, known `buffer_s` before the hour."""
        predictive = self.plan.predictive
        if predictive is None or predictive.forecast_only:
            return
        for hour, rps in enumerate(self.traffic.hourly_max_rps()):
            need = int(np.ceil(3600 * rps / predictive.requests_per_task_per_hour))
            low = min(max(self.plan.min_tasks, need), self.plan.max_tasks)
            at_s = max(0.0, 3600.0 * hour - predictive.buffer_s)
            events.add(at_s, partial(scaler.limits, low, None))

    def _plan_period(self, events: "_Events", scaler: AutoScaler, period: _Period) -> None:
        policy = period.policy
        ends_s = period.starts_s + policy.period_s

        def end() -> None:
            value, tasks = period.value(), period.task_s / policy.period_s
            delay_s = PUBLISH_DELAY_S[policy.metric, policy.period_s]
            seen_s = ends_s + delay_s
            events.add(seen_s, partial(scaler.observe, policy.name, value, tasks, seen_s))
            period.restart(ends_s)
            self._plan_period(events, scaler, period)

        events.add(ends_s, end)

    def _first_limits(self, scaler: AutoScaler) -> None:
        """Apply the last scheduled action before the start."""
        actions = sorted(
            self.plan.schedule,
            key=lambda action: (self.start_minute - action.minute_of_week) % WEEK_MIN,
        )
        if actions:
            scaler.limits(actions[0].min_tasks, actions[0].max_tasks)
            scaler.desired = scaler.low

    def _reconcile(self, scaler: AutoScaler, events: "_Events") -> None:
        """Start or stop tasks until running plus starting tasks equal the desired count."""
        have = self.running + len(self.starting)
        for _ in range(scaler.desired - have):
            ticket = events.ticket()
            self.starting.append(ticket)
            ready_s = self.now_s + self.plan.start_s + self.plan.health_s
            events.add(ready_s, partial(self._ready, ticket))
        for _ in range(have - scaler.desired):
            if self.starting:
                self.starting.pop()
            else:
                self.running -= 1
                self.task_s += min(self.plan.drain_s, self.traffic.duration_s - self.now_s)
        self._resize()
        self._record_tasks(scaler)

    def _ready(self, ticket: int) -> None:
        if ticket in self.starting:  # absent if it was stopped before it was ready
            self.starting.remove(ticket)
            self.running += 1

    def _resize(self) -> None:
        cores = max(1, round(self.running * max(1.0, self.plan.vcpus)))
        self.cores.set_number(cores, self.now_s)

    def _record_tasks(self, scaler: AutoScaler) -> None:
        if not self.tasks or self.tasks[-1][1:] != (scaler.desired, self.running):
            self.tasks.append((self.now_s, scaler.desired, self.running))

    def _outcome(self, waits: NDArray[np.float64]) -> Outcome:
        waits = np.where(waits == REFUSED, np.nan, waits)
        unloaded_ms = self.service.draw_unloaded_ms(len(waits), self.rng)
        return Outcome(
            arrivals_s=self.traffic.arrivals_s,
            latency_ms=1e3 * waits + unloaded_ms,
            wait_s=waits,
            tasks=self.tasks,
            task_s=self.task_s,
            duration_s=self.traffic.duration_s,
        )


class _Events:
    """A queue of events by time; events at the same time run in the order of `add`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count()

    def ticket(self) -> int:
        """A number that was not used before."""
        return next(self._tickets)

    def add(self, at_s: float, action: Callable[[], None]) -> None:
        """Add an event."""
        heapq.heappush(self._heap, (at_s, self.ticket(), action))

    def next_s(self) -> float:
        """Time of the next event; infinity if there is none."""
        return self._heap[0][0] if self._heap else float("inf")

    def run_due(self, now_s: float) -> None:
        """Run every event up to now."""
        while self._heap and self._heap[0][0] <= now_s:
            heapq.heappop(self._heap)[2]()
