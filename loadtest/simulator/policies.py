"""Application Auto Scaling's rules for an ECS service. Pure: measurements in, wanted tasks out.

Knows nothing about requests or queues. What AWS does not publish is marked "judged" below; the two
published scale-out times (363 s and 86 s from load to decision) are regression tests.

Source:
    AWS, ECS developer guide and Application Auto Scaling API reference; AWS's own measurement of
    target tracking with 60 s metrics (363 s) and 20 s metrics (86 s), June 2026.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final, Literal

Metric = Literal["requests_per_task", "cpu_percent"]

# A period's datapoint can be used this long after the period ended. Fitted to AWS's measurement:
# 363 = 3 x 60 + 183 and 86 = 3 x 20 + 26. For the load balancer's count: judged.
PUBLISH_DELAY_S: Final[dict[tuple[Metric, int], float]] = {
    ("cpu_percent", 60): 183.0,
    ("cpu_percent", 20): 26.0,
    ("requests_per_task", 60): 60.0,
}
HIGH_PERIODS: Final = 3  # datapoints above the target before scaling out
LOW_SPAN_S: Final = 900.0  # datapoints below for a quarter of an hour before scaling in
LOW_FRAC: Final = 0.9  # of the target; judged
MAX_SHRINK_FRAC: Final = 0.1  # of the tasks, at least one, at a time ("more gradually"); judged


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
    """One adjustment of a step policy; bounds count from the alarm's threshold."""

    lower: float
    upper: float
    change: float


@dataclass(frozen=True, slots=True)
class StepScaling:
    """Add tasks by how far a metric is above an alarm's threshold."""

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
    """A floor of tasks for each hour from a forecast of its load."""

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
    start_s: float = 57.0  # wanted to running; a 413 MB image without lazy loading
    health_s: float = 20.0  # running to in service: two checks ten seconds apart
    drain_s: float = 30.0  # taken out, still paid for
    vcpus: float = 1.0
    memory_gb: float = 2.0

    def with_minimum(self, min_tasks: int) -> "Plan":
        """The same plan with another floor, in its schedule too."""
        schedule = tuple(
            replace(one, min_tasks=max(min_tasks, 0) if one.min_tasks is not None else None)
            for one in self.schedule
        )
        highest = max(self.max_tasks, min_tasks)
        return replace(self, min_tasks=min_tasks, max_tasks=highest, schedule=schedule)

    def with_maximum(self, max_tasks: int) -> "Plan":
        """The same plan with another ceiling, in its schedule too."""
        schedule = tuple(
            replace(one, max_tasks=max_tasks if one.max_tasks is not None else None)
            for one in self.schedule
        )
        return replace(self, max_tasks=max_tasks, schedule=schedule)

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
    """The datapoints of one policy that have become visible, newest last."""

    policy: TargetTracking | StepScaling
    values: list[float] = field(default_factory=list)
    tasks: float = 0.0  # that the newest value is an average over


@dataclass(slots=True)
class AutoScaler:
    """Decides how many tasks are wanted.

    Call `observe` with every finished period of a policy's metric when it becomes visible, and
    `limits` when a schedule or forecast moves the limits. `wanted` is the answer.
    """

    plan: Plan
    wanted: int = 0
    low: int = 0
    high: int = 0
    out_until_s: float = -math.inf
    out_to: int = 0  # where the scale-out in force goes; a larger one may pass
    in_until_s: float = -math.inf
    trackers: dict[str, _Tracker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.low, self.high = self.plan.min_tasks, self.plan.max_tasks
        self.wanted = min(max(self.wanted, self.low), self.high)
        self.trackers = {one.name: _Tracker(one) for one in self.plan.policies}

    def limits(self, low: int | None, high: int | None) -> None:
        """Move the limits; tasks outside of them are added or taken at once."""
        self.low = self.low if low is None else low
        self.high = max(self.high if high is None else high, self.low)
        self.wanted = min(max(self.wanted, self.low), self.high)

    def observe(self, name: str, value: float | None, tasks: float, now_s: float) -> None:
        """One finished period of one policy's metric has become visible.

        Args:
            name: the policy.
            value: None: no data, which breaks a row of breaches and never scales.
            tasks: in service in that period; tasks that were still starting are not counted, so
                that a scale-out on its way is not ordered twice.
            now_s: when.
        """
        tracker = self.trackers[name]
        if value is None:
            tracker.values.clear()
            return
        tracker.values.append(value)
        tracker.tasks = tasks
        del tracker.values[: -_kept(tracker.policy)]
        out = self._scale_out(tracker)
        if out is not None and out > self.wanted:
            self._grow(tracker.policy, out, now_s)
        elif isinstance(tracker.policy, TargetTracking):
            self._consider_shrinking(now_s)

    def _scale_out(self, tracker: _Tracker) -> int | None:
        """How many tasks a policy's newest datapoints ask for; None if they ask for nothing."""
        policy, values = tracker.policy, tracker.values
        if isinstance(policy, TargetTracking):
            high = values[-HIGH_PERIODS:]
            if len(high) < HIGH_PERIODS or min(high) <= policy.target:
                return None
            return _needed(tracker)
        high = values[-policy.evaluation_periods :]
        if len(high) < policy.evaluation_periods or min(high) <= policy.threshold:
            return None
        return self.wanted + _step_size(policy, values[-1] - policy.threshold, self.wanted)

    def _grow(self, policy: TargetTracking | StepScaling, to: int, now_s: float) -> None:
        to = min(to, self.high)
        if to <= self.wanted or (now_s < self.out_until_s and to <= self.out_to):
            return
        if isinstance(policy, TargetTracking):
            cooldown_s = policy.out_cooldown_s
        else:
            cooldown_s = policy.cooldown_s
        self.wanted = self.out_to = to
        self.out_until_s = now_s + cooldown_s
        self.in_until_s = -math.inf  # a scale-out ends the scale-in cooldown

    def _consider_shrinking(self, now_s: float) -> None:
        """Scale in when every tracking policy that may is low, and no cooldown is in force."""
        tracking = [
            one
            for one in self.trackers.values()
            if isinstance(one.policy, TargetTracking) and one.policy.may_scale_in
        ]
        if now_s < max(self.in_until_s, self.out_until_s) or not all(map(_is_low, tracking)):
            return
        needed = max((_needed(one) for one in tracking), default=self.low)
        floor = self.wanted - max(1, math.floor(self.wanted * MAX_SHRINK_FRAC))
        to = max(needed, floor, self.low)
        if to < self.wanted:
            self.wanted = to
            self.in_until_s = now_s + max(
                one.policy.in_cooldown_s
                for one in tracking
                if isinstance(one.policy, TargetTracking)
            )


def _kept(policy: TargetTracking | StepScaling) -> int:
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
            # AWS rounds a percentage between 0 and 1 up, and larger ones down
            whole = 1 if 0 < change < 1 else math.floor(change)
            return max(whole, policy.min_magnitude) if change > 0 else 0
    return 0
