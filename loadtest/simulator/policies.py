"""Application Auto Scaling's rules for an ECS service. Pure: measurements in, desired tasks out.

Knows nothing about requests or queues. "Estimate" marks a value that AWS does not publish.
The two published scale-out times (363 s and 86 s from load to decision) are regression tests.

Source:
    AWS, ECS developer guide and Application Auto Scaling API reference; AWS's own measurement of
    target tracking with 60 s metrics (363 s) and 20 s metrics (86 s), June 2026.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final, Literal

Metric = Literal["requests_per_task", "cpu_percent"]

# A policy sees a period's datapoint this long after the period's end. Fitted to AWS's measurement:
# 363 = 3 x 60 + 183 and 86 = 3 x 20 + 26. For the load balancer's count: an estimate.
PUBLISH_DELAY_S: Final[dict[tuple[Metric, int], float]] = {
    ("cpu_percent", 60): 183.0,
    ("cpu_percent", 20): 26.0,
    ("requests_per_task", 60): 60.0,
}
HIGH_PERIODS: Final = 3  # consecutive datapoints above the target before a scale-out
LOW_SPAN_S: Final = 900.0  # datapoints stay below for 15 minutes before a scale-in
LOW_FRAC: Final = 0.9  # of the target; an estimate
MAX_SHRINK_FRAC: Final = 0.1  # of the tasks in one scale-in, at least one task; an estimate


@dataclass(frozen=True, slots=True)
class TargetTracking:
    """Keep a metric near a target."""

    name: str
    metric: Metric
    target: float
    period_s: int = 60
    out_cooldown_s: float = 300.0
    in_cooldown_s: float = 300.0
    may_scale_in: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One adjustment of a step policy; bounds are relative to the alarm's threshold."""

    lower: float
    upper: float
    change: float


@dataclass(frozen=True, slots=True)
class StepScaling:
    """Add tasks in steps, by how far a metric is above an alarm's threshold."""

    name: str
    metric: Metric
    threshold: float
    steps: tuple[Step, ...]
    is_percent: bool
    min_magnitude: int = 1
    period_s: int = 60
    evaluation_periods: int = 1
    cooldown_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Scheduled:
    """New limits at a time of the week."""

    minute_of_week: int  # Monday 00:00 is 0
    min_tasks: int | None
    max_tasks: int | None


@dataclass(frozen=True, slots=True)
class Predictive:
    """A minimum of tasks for each hour, from a forecast of its load."""

    requests_per_task_per_hour: float
    buffer_s: float = 300.0
    forecast_only: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits and policies of one service."""

    min_tasks: int
    max_tasks: int
    policies: tuple[TargetTracking | StepScaling, ...] = ()
    schedule: tuple[Scheduled, ...] = ()
    predictive: Predictive | None = None
    start_s: float = 57.0  # desired to running: a 413 MB image, no lazy loading
    health_s: float = 20.0  # running to in service: two health checks, 10 s apart
    drain_s: float = 30.0  # out of service, still paid for
    vcpus: float = 1.0
    memory_gb: float = 2.0

    def with_minimum(self, min_tasks: int) -> "Plan":
        """The same plan with another minimum, also in its schedule."""
        schedule = tuple(
            replace(one, min_tasks=max(min_tasks, 0) if one.min_tasks is not None else None)
            for one in self.schedule
        )
        highest = max(self.max_tasks, min_tasks)
        return replace(self, min_tasks=min_tasks, max_tasks=highest, schedule=schedule)

    def with_maximum(self, max_tasks: int) -> "Plan":
        """The same plan with another maximum, also in its schedule."""
        schedule = tuple(
            replace(one, max_tasks=max_tasks if one.max_tasks is not None else None)
            for one in self.schedule
        )
        return replace(self, max_tasks=max_tasks, schedule=schedule)

    def with_size(self, vcpus: float) -> "Plan":
        """The same plan with tasks of another size, with as much memory for each vCPU."""
        return replace(self, vcpus=vcpus, memory_gb=self.memory_gb * vcpus / self.vcpus)

    def with_target_scale(self, factor: float) -> "Plan":
        """The same plan with every target and threshold multiplied."""
        changed = tuple(
            replace(one, target=one.target * factor)
            if isinstance(one, TargetTracking)
            else replace(one, threshold=one.threshold * factor)
            for one in self.policies
        )
        return replace(self, policies=changed)


@dataclass(slots=True)
class _Tracker:
    """The visible datapoints of one policy, newest last."""

    policy: TargetTracking | StepScaling
    values: list[float] = field(default_factory=list)
    tasks: float = 0.0  # in service in the period of the newest value


@dataclass(slots=True)
class AutoScaler:
    """Decides how many tasks are desired.

    Call `observe` with every finished period of a policy's metric when it becomes visible, and
    `limits` when a schedule or a forecast changes the limits. Then read `desired`.
    """

    plan: Plan
    desired: int = 0
    low: int = 0
    high: int = 0
    out_until_s: float = -math.inf
    out_to: int = 0  # target of the scale-out in cooldown; only a larger one may pass
    in_until_s: float = -math.inf
    trackers: dict[str, _Tracker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.low, self.high = self.plan.min_tasks, self.plan.max_tasks
        self.desired = min(max(self.desired, self.low), self.high)
        self.trackers = {one.name: _Tracker(one) for one in self.plan.policies}

    def limits(self, low: int | None, high: int | None) -> None:
        """Change the limits; the desired count moves into them at once."""
        self.low = self.low if low is None else low
        self.high = max(self.high if high is None else high, self.low)
        self.desired = min(max(self.desired, self.low), self.high)

    def observe(self, name: str, value: float | None, tasks: float, now_s: float) -> None:
        """Take a datapoint that has become visible, and scale.

        Args:
            name: the policy.
            value: None means no data: it resets the policy's datapoints and never scales.
            tasks: in service in that period, without tasks that were still starting, so that one
                scale-out is not ordered twice.
            now_s: time of the decision.
        """
        tracker = self.trackers[name]
        if value is None:
            tracker.values.clear()
            return
        tracker.values.append(value)
        tracker.tasks = tasks
        del tracker.values[: -_num_kept(tracker.policy)]
        out = self._scale_out(tracker)
        if out is not None and out > self.desired:
            self._apply_scale_out(tracker.policy, out, now_s)
        elif isinstance(tracker.policy, TargetTracking):
            self._scale_in(now_s)

    def _scale_out(self, tracker: _Tracker) -> int | None:
        """The number of tasks that a policy's newest datapoints ask for; None for no change."""
        policy, values = tracker.policy, tracker.values
        if isinstance(policy, TargetTracking):
            high = values[-HIGH_PERIODS:]
            if len(high) < HIGH_PERIODS or min(high) <= policy.target:
                return None
            return _needed(tracker)
        high = values[-policy.evaluation_periods :]
        if len(high) < policy.evaluation_periods or min(high) <= policy.threshold:
            return None
        return self.desired + _step_size(policy, values[-1] - policy.threshold, self.desired)

    def _apply_scale_out(self, policy: TargetTracking | StepScaling, to: int, now_s: float) -> None:
        to = min(to, self.high)
        if to <= self.desired or (now_s < self.out_until_s and to <= self.out_to):
            return
        if isinstance(policy, TargetTracking):
            cooldown_s = policy.out_cooldown_s
        else:
            cooldown_s = policy.cooldown_s
        self.desired = self.out_to = to
        self.out_until_s = now_s + cooldown_s
        self.in_until_s = -math.inf  # a scale-out ends the cooldown of a scale-in

    def _scale_in(self, now_s: float) -> None:
        """Scale in if each tracking policy that may scale in is low, outside of cooldowns."""
        tracking = [
            one
            for one in self.trackers.values()
            if isinstance(one.policy, TargetTracking) and one.policy.may_scale_in
        ]
        if now_s < max(self.in_until_s, self.out_until_s) or not all(map(_is_low, tracking)):
            return
        needed = max((_needed(one) for one in tracking), default=self.low)
        floor = self.desired - max(1, math.floor(self.desired * MAX_SHRINK_FRAC))
        to = max(needed, floor, self.low)
        if to < self.desired:
            self.desired = to
            self.in_until_s = now_s + max(
                one.policy.in_cooldown_s
                for one in tracking
                if isinstance(one.policy, TargetTracking)
            )


def _num_kept(policy: TargetTracking | StepScaling) -> int:
    return max(HIGH_PERIODS, round(LOW_SPAN_S / policy.period_s))


def _needed(tracker: _Tracker) -> int:
    """Tasks that would bring the metric to its target."""
    assert isinstance(tracker.policy, TargetTracking)
    return math.ceil(tracker.tasks * tracker.values[-1] / tracker.policy.target - 1e-9)


def _is_low(tracker: _Tracker) -> bool:
    policy, needed = tracker.policy, round(LOW_SPAN_S / tracker.policy.period_s)
    assert isinstance(policy, TargetTracking)
    values = tracker.values[-needed:]
    return len(values) == needed and max(values) < LOW_FRAC * policy.target


def _step_size(policy: StepScaling, excess: float, tasks: int) -> int:
    for step in policy.steps:
        if step.lower <= excess < step.upper:
            change = tasks * step.change / 100 if policy.is_percent else step.change
            # AWS rounds a change between 0 and 1 task up, and a larger one down
            whole = 1 if 0 < change < 1 else math.floor(change)
            return max(whole, policy.min_magnitude) if change > 0 else 0
    return 0
