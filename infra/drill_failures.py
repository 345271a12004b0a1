"""What each failure of the game day does to production, minute by minute, and to its metrics.

A failure is a function of the minutes since it began. Knows nothing about alarms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from infra import settings
from infra.api_keys import DEAD_WITHIN_S

DAY_MIN = 24 * 60
_REPORT_MIN = 90  # 01:30: settings.DRIFT_CRON
_SPOOL_BYTES = 7 * 2**30 / (100 * 86_400)  # a read: settings.ALARM_BACKLOG_BYTES
_RETRIES_MIN = 2 + 6  # the waits between JOB_ATTEMPTS + 1 attempts: scheduled_job.py
_REJECT_FRAC = 0.03  # of clean crops: settings.ALARM_REJECT_FRAC


@dataclass(frozen=True, slots=True)
class Minute:
    """Production in one minute: by default healthy, at the planned load, no release under way."""

    tasks: int = settings.NUM_AZS  # run and pass their health checks; of the version before
    unhealthy: int = 0
    asked: float = 60 * settings.PLANNED_RPS
    p99_ms: float = 10.0
    shed_frac: float = 0.0
    refused: float = 0.0  # requests that the load balancer answers itself, for want of a task
    new_frac: float = 0.0  # share of crops that the version being released reads
    new_reject_frac: float = _REJECT_FRAC
    is_releasing: bool = False
    has_start_event: bool = False  # ECS has sent SERVICE_TASK_START_IMPAIRED
    backlog_bytes: float = 2e6
    keys_age_s: float = 20.0
    has_database: bool = True
    num_failed_runs: int = 0  # of the retraining
    reports: int = 0  # drift reports written

    def metrics(self) -> dict[str, float]:
        """Metric's name, with its marker (`marker`), -> value. Without data a name is absent."""
        rejected = self.asked * (
            self.new_frac * self.new_reject_frac + (1 - self.new_frac) * _REJECT_FRAC
        )
        new = self.asked * self.new_frac
        values = {
            "HTTPCode_ELB_5XX_Count": self.refused,
            "Invocations": 1.0,
            "Errors Lambda": float(not self.tasks),
            "DeploymentCount": 2.0 if self.is_releasing else 1.0,
            "DesiredTaskCount": float(max(self.tasks, settings.NUM_AZS)),
        }
        if self.tasks:  # else nobody writes them
            values |= {
                "RunningTaskCount": float(self.tasks),
                "HealthyHostCount Blue": float(self.tasks),
                "UnHealthyHostCount Blue": float(self.unhealthy),
                "RequestCount": self.asked,
                "TargetResponseTime": self.p99_ms / 1000,
                "Requests": self.asked,
                "Shed": self.asked * self.shed_frac,
                "Accepted": self.asked - rejected,
                "Rejected": rejected,
                "SiteTrips": 0.0,
                "CaptureBacklogBytes": self.backlog_bytes,
                "KeysAgeSeconds": self.keys_age_s,
            }
        if self.new_frac:
            values["Rejected Version"] = new * self.new_reject_frac
            values["Accepted Version"] = new * (1 - self.new_reject_frac)
        if self.has_start_event:
            values["TriggeredRules"] = 1.0
        if self.has_database:
            values["FreeStorageSpace"] = 0.9 * settings.DATABASE_GIB * 2**30
        if self.num_failed_runs:
            values["ExecutionsFailed"] = float(self.num_failed_runs)
        if self.reports:
            values |= {"DriftReportCompleted": 1.0, "DriftSeverity": 0.0}
        return values


# Metrics that have data only after an event, which few of the failures contain, or none.
RARE = (
    "TriggeredRules",
    "HTTPCode_Target_5XX_Count",
    "ExecutionsFailed",
    "ApproximateNumberOfMessagesVisible",
)


def marker(metric: Mapping[str, Any]) -> str:
    """The name of a metric in `Minute.metrics`: with what tells two of the same name apart."""
    dimensions = {d["Name"]: str(d["Value"]) for d in metric.get("Dimensions", [])}
    group = dimensions.get("TargetGroup", "")
    parts = (
        metric["MetricName"],
        "Lambda" if metric["MetricName"] == "Errors" and "FunctionName" in dimensions else "",
        "Version" if "Version" in dimensions else "",
        "Blue" if "Blue" in group else "Green" if "Green" in group else "",
    )
    return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Zone:
    """What the capacity simulator says of two tasks at the planned peak."""

    p99_ms: float
    shed_frac: float
    new_task_s: float  # from its order to its first request


Failure = Callable[[int], Minute]
HEALTHY = Minute()


def healthy(minute: int) -> Minute:
    """An ordinary day; the drift report is written once."""
    return replace(HEALTHY, reports=int(minute % DAY_MIN == _REPORT_MIN))


def all_tasks_die(minute: int) -> Minute:  # noqa: ARG001
    """The tasks exit, and so do those that replace them."""
    return replace(HEALTHY, tasks=0, refused=HEALTHY.asked)


def bad_image(minute: int) -> Minute:
    """The tasks of a release do not start; ECS sends its event now, and rolls back on the alarm."""
    return replace(HEALTHY, is_releasing=minute < 3, has_start_event=minute == 0)


def bad_model(minute: int) -> Minute:
    """The model of a release rejects all mail but the golden crops; ECS rolls back on the alarm."""
    is_canary = minute < settings.CANARY_MIN
    return replace(
        HEALTHY,
        is_releasing=is_canary,
        new_frac=settings.CANARY_PERCENT / 100 if is_canary else 0.0,
        new_reject_frac=1.0,
    )


def database_gone(minute: int) -> Minute:
    """MLflow's database, in one zone, fails as the monthly run starts, which needs it."""
    has_failed = minute == _RETRIES_MIN
    return replace(HEALTHY, has_database=False, num_failed_runs=int(has_failed))


def bucket_denied(minute: int) -> Minute:
    """The shipper may not write to the bucket."""
    reads = (minute + 1) * HEALTHY.asked / settings.NUM_AZS
    return replace(HEALTHY, backlog_bytes=reads * _SPOOL_BYTES)


def key_leaked(minute: int) -> Minute:
    """A leaked key was revoked, and one task cannot read the secret: there it still opens."""
    return replace(HEALTHY, keys_age_s=DEAD_WITHIN_S / 3 + 60 * (minute + 1))


def zone_lost(minute: int, zone: Zone) -> Minute:
    """One of three zones stops answering at the planned peak."""
    peak = replace(HEALTHY, asked=60 * settings.PEAK_RPS)
    noticed_s = settings.UNHEALTHY_CHECKS * settings.HEALTH_INTERVAL_S
    if 60 * minute >= noticed_s + zone.new_task_s:
        return peak
    lost = peak.asked * noticed_s / 60 / settings.NUM_AZS  # sent to the zone until then
    return replace(
        peak,
        tasks=settings.NUM_AZS - 1,
        unhealthy=1,
        p99_ms=zone.p99_ms,
        shed_frac=zone.shed_frac,
        refused=lost if minute == 0 else 0.0,
    )


def day_without_mail(minute: int) -> Minute:
    """Only the synthetic read comes, once a minute."""
    return replace(healthy(minute), asked=1.0)
