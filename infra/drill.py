"""``python -m infra drill``: which alarm rings after how long, and what ends the failure.

The alarms are those of the production template (``infra/snapshots``); the metrics are those that
the failure writes (``failures.py``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from infra import alarm_states, runbook, settings
from infra import drill_failures as failures
from infra import drill_repairs as repairs
from infra.drill_failures import DAY_MIN, Failure, Minute
from infra.world import Resource, World

SNAPSHOTS = settings.REPOSITORY_ROOT / "infra" / "snapshots" / "prod"
RUNBOOK = settings.REPOSITORY_ROOT / "docs" / "operations.md"
_BEFORE_MIN = 2 * DAY_MIN  # of health before the failure: more than any alarm looks back
_COMMAND = "$ python -m infra drill all\n"


@dataclass(frozen=True, slots=True)
class Drill:
    """One failure, and what ends it."""

    name: str
    failure: Failure
    until_min: int
    ended_by: str | None  # the alarm whose fix ends it; None: nothing to end
    repair: Callable[[World], str] | None = None  # the fix in moto, where it is a command


def zone_lost(minute: int) -> Minute:
    """A zone stops answering; latency and shed load are the capacity simulator's."""
    return failures.zone_lost(minute, zone_of_two_tasks())


DRILLS = (
    Drill("all-tasks-die", failures.all_tasks_die, 60, "running-tasks"),
    Drill("bad-image", failures.bad_image, 60, "task-start-impaired"),
    Drill("bad-model", failures.bad_model, 60, "version-difference"),
    Drill("database-gone", failures.database_gone, 480, "retrain", repairs.restore_database),
    Drill("bucket-denied", failures.bucket_denied, 240, "capture", repairs.allow_writing),
    Drill("key-leaked", failures.key_leaked, 60, "keys-stale", repairs.revoke_key),
    Drill("zone-lost", zone_lost, 60, "unhealthy"),
    Drill("day-without-mail", failures.day_without_mail, DAY_MIN, None),
)


@dataclass(frozen=True, slots=True)
class Ring:
    """An alarm that starts."""

    after_s: int
    name: str
    tells: str  # page or ticket

    def __str__(self) -> str:
        return f"{self.name} {self.after_s} s ({self.tells})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The name of the failure."""
    names = [drill.name for drill in DRILLS]
    parser.add_argument("name", choices=[*names, "all"], help="the failure, or all of them")


def run(options: argparse.Namespace) -> int:
    """Print one drill, or the table of all."""
    world = read_world()
    if options.name == "all":
        print(table(world))
        return 0
    (drill,) = (drill for drill in DRILLS if drill.name == options.name)
    for ring in rings(world, drill.failure, until_min=drill.until_min):
        print(ring)
    fixes = {entry.name: entry.fix for entry in runbook.entries(RUNBOOK.read_text())}
    if drill.ended_by is not None:
        print(f"what ends it (docs/{RUNBOOK.name}, {drill.ended_by}): {fixes[drill.ended_by]}")
    if drill.repair is not None:
        print(f"in moto: {drill.repair(world)}")
    return 0


def read_world() -> World:
    """Production as its templates have it."""
    return World({file.stem: json.loads(file.read_text()) for file in SNAPSHOTS.glob("*.json")})


def table(world: World) -> str:
    """All drills: alarms in the order of their ringing, and the row that ends the failure."""
    lines = []
    for drill in DRILLS:
        found = rings(world, drill.failure, until_min=drill.until_min)
        lines.append(f"{drill.name:<17} {', '.join(map(str, found)) or 'no alarm'}")
        if drill.ended_by is not None:
            lines.append(f"{'':<17} ends: {drill.ended_by}")
        if drill.repair is not None:
            lines.append(f"{'':<17} moto: {drill.repair(world)}")
    return "\n".join(lines)


def renewed(text: str, world: World) -> str:
    """docs/operations.md with the table of now."""
    head, command, rest = text.partition(_COMMAND)
    _, fence, tail = rest.partition("```\n")
    return f"{head}{command}{table(world)}\n{fence}{tail}"


def rings(world: World, failure: Failure, *, until_min: int) -> list[Ring]:
    """The alarms that tell somebody within that time of the failure, in their order."""
    written = _written(failure, until_min)

    known = {name.split()[0] for name in written} | set(failures.RARE)

    def minutes(metric: Mapping[str, Any]) -> Mapping[int, float]:
        if metric["MetricName"] not in known:
            raise KeyError(f"no failure says what {metric['MetricName']} is")
        return written.get(failures.marker(metric), {})

    found = []
    for alarm in world.all("CloudWatch::Alarm"):
        topic = _topic(world, alarm)
        if topic is None:
            continue
        after_s = alarm_states.rings_after_s(alarm, minutes, until_min=until_min)
        if after_s is not None:
            name = str(alarm.get("AlarmName")).removeprefix("digitline-prod-")
            found.append(Ring(after_s, name, topic.removeprefix("digitline-prod-")))
    return sorted(found, key=lambda ring: (ring.after_s, ring.name))


def _topic(world: World, alarm: Resource) -> str | None:
    """Whom an alarm tells; None if it only scales."""
    (action,) = (world.at(action) for action in alarm.get("AlarmActions"))
    return str(action.get("TopicName")) if action and action.type == "AWS::SNS::Topic" else None


def _written(failure: Failure, until_min: int) -> dict[str, dict[int, float]]:
    """Metric -> minute -> value."""
    written: dict[str, dict[int, float]] = {}
    for minute in range(-_BEFORE_MIN, until_min):
        now = failures.healthy(minute) if minute < 0 else failure(minute)
        for name, value in now.metrics().items():
            written.setdefault(name, {})[minute] = value
    return written


@cache
def zone_of_two_tasks() -> failures.Zone:
    """Two tasks of three at the planned peak, in the capacity simulator."""
    import numpy as np

    from loadtest.simulator import arrivals, deployed_policies, service_times, simulate

    plan = deployed_policies.read_plan(SNAPSHOTS)
    left = replace(plan.with_minimum(settings.NUM_AZS - 1), policies=(), schedule=())
    rng = np.random.default_rng(1)
    traffic = arrivals.poisson("peak", arrivals.constant_rates(settings.PEAK_RPS, 120), rng)
    times = service_times.read()
    outcome = simulate.Simulation(left, traffic, times, rng).run()
    return failures.Zone(
        p99_ms=outcome.percentile_ms(99),
        shed_frac=outcome.shed_frac,
        new_task_s=plan.start_s + plan.health_s,
    )
