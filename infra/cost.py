"""The monthly cost, computed from the same settings as the templates.

List prices without discounts, free tiers or tax. Knows nothing about CDK.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from infra import capacity, prices, settings
from infra.capacity import Measured, Plan
from infra.settings import TaskSize

HOURS_PER_MONTH = 730.0
WEEKS_PER_MONTH = HOURS_PER_MONTH / (7 * 24)
QUIET_FRAC = 0.05  # of the planned rate, outside truck hours: hand-fed rejects and tests
CROP_BYTES = 1_500  # one 28x28 or 128x128 grey PNG with its HTTP head, both ways
CAPTURE_BYTES = 600  # one record in zstd Parquet: 28x28 image, features, answer
LOG_BYTES_PER_READ = 30  # the service logs errors and one metric line a minute, not requests
KEY_READS_H = 3600 / 20  # of the secret with the API keys, by each task: serving/edge/lifecycle.py
LAMBDA_GB = 1.769  # AWS gives one vCPU at 1,769 MB
LAMBDA_OVERHEAD_MS = 2  # assumed, not measured: the event's JSON and base64, both ways
NUM_INTERFACE_ENDPOINTS = 6
NUM_CONTAINER_INSIGHT_METRICS = 60
NUM_ALARM_METRICS = 30  # an alarm on an expression is charged for each metric in it
JOB_HOURS = (  # hours a month: retraining ~15 min, compaction and drift ~10 min a day each
    (settings.RETRAIN_TASK, 0.25),
    (settings.COMPACT_TASK, 5.0),
    (settings.DRIFT_TASK, 5.0),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill."""

    what: str
    usd: float
    how: str


@dataclass(frozen=True, slots=True)
class Bill:
    """A month."""

    lines: tuple[Line, ...]
    num_reads: float
    plan: Plan

    @property
    def total_usd(self) -> float:
        """Sum of all lines."""
        return sum(line.usd for line in self.lines)

    @property
    def usd_per_million(self) -> float:
        """Total divided by millions of reads."""
        return self.total_usd / (self.num_reads / 1e6)


def monthly(
    *, planned_rps: float, peak_rps: float, num_endpoint_azs: int, measured: Measured
) -> Bill:
    """The bill of one environment.

    Args:
        planned_rps: mean requests per second in truck hours.
        peak_rps: requests per second that the minimum of tasks holds.
        num_endpoint_azs: AZs with interface endpoints.
        measured: the rate of one core.
    """
    plan = capacity.plan(planned_rps=planned_rps, peak_rps=peak_rps, measured=measured)
    hours = settings.TRUCK_HOURS
    length_h = hours.last_hour - hours.first_hour + hours.lead_min / 60
    truck_h = length_h * hours.days_per_week * WEEKS_PER_MONTH
    quiet_h = HOURS_PER_MONTH - truck_h
    num_reads = 3600 * planned_rps * (truck_h + QUIET_FRAC * quiet_h)
    lines = (
        *_service(plan, truck_h, quiet_h),
        *_front(planned_rps, truck_h, num_reads),
        *_network(num_endpoint_azs),
        *_registry(),
        *_data(num_reads),
        *_keys(plan.truck_min_tasks * truck_h + plan.min_tasks * quiet_h),
    )
    return Bill(lines=lines, num_reads=num_reads, plan=plan)


def _task_usd(size: TaskSize, hours: float) -> float:
    memory_gb = size.memory_mib / 1024
    return hours * (size.vcpus * prices.FARGATE_VCPU_H + memory_gb * prices.FARGATE_GB_H)


def _service(plan: Plan, truck_h: float, quiet_h: float) -> list[Line]:
    task_hours = plan.truck_min_tasks * truck_h + plan.min_tasks * quiet_h
    size = settings.SERVICE_TASK
    return [
        Line(
            "Service tasks (Fargate ARM)",
            _task_usd(size, task_hours),
            f"{plan.truck_min_tasks} in truck hours, {plan.min_tasks} otherwise; "
            f"{size.vcpus:g} vCPU, {size.memory_mib} MiB",
        )
    ]


def _front(planned_rps: float, truck_h: float, num_reads: float) -> list[Line]:
    # connections are kept alive, so bytes are the dimension that counts (1 GB/h is one unit)
    units = planned_rps * 3600 * CROP_BYTES / 1e9
    capacity_units = units * (truck_h + QUIET_FRAC * (HOURS_PER_MONTH - truck_h))
    alb = HOURS_PER_MONTH * prices.ALB_H + capacity_units * prices.ALB_LCU_H
    rules = 4
    waf = prices.WAF_ACL + rules * prices.WAF_RULE + num_reads / 1e6 * prices.WAF_MILLION
    return [
        Line("Load balancer", alb, f"{units:.1f} capacity units in truck hours"),
        Line("Firewall (WAF)", waf, f"{rules} rules, {num_reads / 1e6:.0f} M requests"),
    ]


def _network(num_endpoint_azs: int) -> list[Line]:
    hours = NUM_INTERFACE_ENDPOINTS * num_endpoint_azs * HOURS_PER_MONTH
    return [
        Line(
            "Interface endpoints",
            hours * prices.ENDPOINT_AZ_H,
            f"{NUM_INTERFACE_ENDPOINTS} services in {num_endpoint_azs} zones",
        ),
        Line(
            "Public addresses",
            settings.NUM_AZS * HOURS_PER_MONTH * prices.IPV4_H,
            f"{settings.NUM_AZS} of the load balancer",
        ),
    ]


def _registry() -> list[Line]:
    database = HOURS_PER_MONTH * prices.DATABASE_H + settings.DATABASE_GIB * prices.GP3_GB
    jobs = sum(_task_usd(size, hours) for size, hours in JOB_HOURS)
    return [
        Line(
            "MLflow (Fargate ARM)",
            _task_usd(settings.MLFLOW_TASK, HOURS_PER_MONTH),
            f"1 task, {settings.MLFLOW_TASK.vcpus:g} vCPU",
        ),
        Line(
            "PostgreSQL",
            database,
            f"db.{settings.DATABASE_CLASS}, one zone, {settings.DATABASE_GIB} GiB",
        ),
        Line("Retraining, compaction, drift", jobs, "tasks that run minutes a day"),
    ]


def _data(num_reads: float) -> list[Line]:
    kept_gb = num_reads * CAPTURE_BYTES / 1e9 * settings.CAPTURE_DAYS / (HOURS_PER_MONTH / 24)
    # the shipper writes one file every 30 s and task; compaction rewrites each byte once
    puts = settings.NUM_AZS * HOURS_PER_MONTH * 3600 / 30
    storage = kept_gb * prices.S3_GB + puts / 1e6 * prices.S3_MILLION_PUTS
    logs_gb = num_reads * LOG_BYTES_PER_READ / 1e9
    watching = (
        NUM_CONTAINER_INSIGHT_METRICS * prices.METRIC
        + NUM_ALARM_METRICS * prices.ALARM
        + prices.DASHBOARD
        + logs_gb * prices.LOGS_GB
    )
    return [
        Line(
            "Captures, reports (S3)",
            storage,
            f"{kept_gb:.0f} GB kept, {math.ceil(puts / 1e3)} k writes",
        ),
        Line("CloudWatch", watching, f"metrics, alarms, dashboard, {logs_gb:.1f} GB of logs"),
    ]


def _keys(task_hours: float) -> list[Line]:
    reads = task_hours * KEY_READS_H / 1e6
    kept = 2 * prices.KMS_KEY + 3 * prices.SECRET
    return [
        Line(
            "Keys and secrets",
            kept + reads * prices.SECRET_MILLION_CALLS,
            f"2 keys, 3 secrets, {reads:.1f} M reads of the API keys",
        )
    ]


def with_lambda(bill: Bill) -> str:
    """What Lambda would cost instead of the tasks, behind the same load balancer.

    One invocation for a read, at one vCPU; memory is billed by the millisecond.
    """
    millions = bill.num_reads / 1e6
    read_ms = math.ceil(1e3 / bill.plan.measured.rps_per_core) + LAMBDA_OVERHEAD_MS
    compute = bill.num_reads * read_ms / 1e3 * LAMBDA_GB * prices.LAMBDA_GB_S
    requests = millions * prices.LAMBDA_MILLION
    tasks = bill.lines[0].usd
    total = bill.total_usd - tasks + compute + requests
    in_all = "USD per million in all"
    return (
        f"tasks   {tasks:8.2f} USD a month, {bill.usd_per_million:.2f} {in_all}\n"
        f"Lambda  {compute + requests:8.2f} USD a month, {total / millions:.2f} {in_all}: "
        f"{requests:.2f} for requests, {compute:.2f} for {read_ms} ms of {LAMBDA_GB:g} GB each"
    )


def table(bill: Bill) -> str:
    """The bill as text, for the command line and the documents."""
    millions = bill.num_reads / 1e6
    width = max(len(line.what) for line in bill.lines)
    rows = [f"{line.what:<{width}}  {line.usd:8.2f}  {line.how}" for line in bill.lines]
    return "\n".join(
        [
            f"USD a month, {prices.LIST} of {prices.AS_OF} in {prices.REGION}",
            *rows,
            f"{'Total':<{width}}  {bill.total_usd:8.2f}",
            "",
            f"{millions:.1f} million reads a month: {bill.usd_per_million:.2f} USD per million",
            bill.plan.explain(),
        ]
    )
