"""The monthly cost, computed from the same settings as the templates.

List prices without discounts, free tiers or tax. Knows nothing about CDK.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from contract import metrics
from infra import capacity, prices, settings
from infra.capacity import Measured, Plan
from infra.settings import Environment, TaskSize

HOURS_PER_MONTH = 730.0
WEEKS_PER_MONTH = HOURS_PER_MONTH / (7 * 24)
QUIET_FRAC = 0.05  # of the planned rate, outside truck hours: hand-fed rejects and tests
CROP_BYTES = 1_500  # one 28x28 or 128x128 grey PNG with its HTTP head, both ways
CAPTURE_BYTES = 600  # one record in zstd Parquet: 28x28 image, features, answer
LOG_BYTES_PER_READ = 30  # the service logs errors and one metric line a minute, not requests
SHIP_S = 30  # between two files that a shipper writes
KEY_READS_H = 3600 / 20  # of the secret with the API keys, by each task: serving/edge/lifecycle.py
LAMBDA_GB = 1.769  # AWS gives one vCPU at 1,769 MB
LAMBDA_OVERHEAD_MS = 2  # assumed, not measured: the event's JSON and base64, both ways
SYNTHETIC_READ_S = 1.0  # of a function with 256 MB, each minute; assumed, not measured
MLFLOW_HOURS = 40.0  # a month: 19 of the retraining's day, the others for people; assumed
NUM_INTERFACE_ENDPOINTS = 6
# Container Insights (ECS developer guide, metrics by dimensions): 12 of a cluster, 16 of a service,
# 10 of a task family
NUM_INSIGHT_METRICS = 38
# an alarm on an expression is charged for each metric in it; tests/infra/test_cost.py counts them
NUM_ALARM_METRICS = 35
NUM_COMFORT_ALARM_METRICS = 5  # of them: COMFORT_ALARMS, and the database's
NUM_FAST_ALARMS = 3  # below a minute: the burst alarm, and two of target tracking
NUM_FIREWALL_RULES = 2
NUM_SECRETS = 2  # API keys, golden read's key
NUM_COMFORT_SECRETS = 2  # MLflow's administrator, database
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


def monthly(environment: Environment, measured: Measured) -> Bill:
    """The bill of one environment.

    Args:
        environment: its load and sizes.
        measured: the rate of one core.
    """
    plan = capacity.plan(environment, measured)
    truck_h, quiet_h = hours()
    busy_h = truck_h + QUIET_FRAC * quiet_h  # hours at the planned rate
    num_reads = 3600 * environment.planned_rps * busy_h
    task_h = plan.truck_min_tasks * truck_h + plan.min_tasks * quiet_h
    lines = (
        _service(environment, plan, task_h),
        *_front(environment, busy_h),
        *_network(environment, task_h),
        *_registry(environment),
        *_data(environment, num_reads, task_h),
        _keys(environment, task_h),
    )
    return Bill(lines=lines, num_reads=num_reads, plan=plan)


def hours() -> tuple[float, float]:
    """Hours of a month with the truck hours' minimum of tasks, and without."""
    trucks = settings.TRUCK_HOURS
    length_h = trucks.last_hour - trucks.first_hour + trucks.lead_min / 60
    truck_h = length_h * trucks.days_per_week * WEEKS_PER_MONTH
    return truck_h, HOURS_PER_MONTH - truck_h


def _task_usd(size: TaskSize, hours: float) -> float:
    memory_gb = size.memory_mib / 1024
    return hours * (size.vcpus * prices.FARGATE_VCPU_H + memory_gb * prices.FARGATE_GB_H)


def _service(environment: Environment, plan: Plan, task_h: float) -> Line:
    size = environment.task
    return Line(
        "Service tasks (Fargate ARM)",
        _task_usd(size, task_h),
        f"{plan.truck_min_tasks} in truck hours, {plan.min_tasks} otherwise; "
        f"{size.vcpus:g} vCPU, {size.memory_mib} MiB",
    )


def _front(environment: Environment, busy_h: float) -> list[Line]:
    # connections are kept alive, so bytes are the dimension that counts (1 GB/h is one unit)
    units = environment.planned_rps * 3600 * CROP_BYTES / 1e9
    alb = HOURS_PER_MONTH * prices.ALB_H + units * busy_h * prices.ALB_LCU_H
    waf = prices.WAF_ACL + NUM_FIREWALL_RULES * prices.WAF_RULE
    read_s = HOURS_PER_MONTH * 60 * SYNTHETIC_READ_S
    calls = HOURS_PER_MONTH * 60 / 1e6 * prices.LAMBDA_MILLION
    return [
        Line("Load balancer", alb, f"{units:.1f} capacity units in truck hours"),
        Line(
            "Firewall (WAF)",
            waf,
            f"{NUM_FIREWALL_RULES} rules; in a flood {prices.WAF_MILLION:.2f} USD per million more",
        ),
        Line(
            "Functions (Lambda)",
            read_s * 0.25 * prices.LAMBDA_GB_S + calls,
            "a golden read each minute; in a release; in a flood",
        ),
    ]


def _network(environment: Environment, task_h: float) -> list[Line]:
    zones, azs = environment.num_endpoint_azs, environment.num_azs
    hours = NUM_INTERFACE_ENDPOINTS * zones * HOURS_PER_MONTH
    of_tasks = 0.0 if environment.is_isolated else task_h
    whose = f"{azs} of the load balancer" + ("" if environment.is_isolated else ", one a task")
    return [
        Line(
            "Interface endpoints",
            hours * prices.ENDPOINT_AZ_H,
            f"{NUM_INTERFACE_ENDPOINTS} services in {zones} zones",
        ),
        Line("Public addresses", (azs * HOURS_PER_MONTH + of_tasks) * prices.IPV4_H, whose),
    ]


def _registry(environment: Environment) -> list[Line]:
    first = 0 if environment.has_comforts else 1  # without the retraining
    jobs = sum(_task_usd(size, hours) for size, hours in JOB_HOURS[first:])
    lines = [Line("Scheduled jobs", jobs, "tasks that run minutes a day")]
    if environment.has_comforts:
        database = MLFLOW_HOURS * prices.DATABASE_H + settings.DATABASE_GIB * prices.GP3_GB
        lines += [
            Line(
                "MLflow (Fargate ARM)",
                _task_usd(settings.MLFLOW_TASK, MLFLOW_HOURS),
                f"1 task, {settings.MLFLOW_TASK.vcpus:g} vCPU, {MLFLOW_HOURS:g} hours",
            ),
            Line(
                "PostgreSQL",
                database,
                f"db.{settings.DATABASE_CLASS}, {MLFLOW_HOURS:g} hours, "
                f"{settings.DATABASE_GIB} GiB",
            ),
        ]
    return lines


def _data(environment: Environment, num_reads: float, task_h: float) -> list[Line]:
    kept_gb = num_reads * CAPTURE_BYTES / 1e9 * settings.CAPTURE_DAYS / (HOURS_PER_MONTH / 24)
    puts = task_h * 3600 / SHIP_S  # compaction rewrites each byte once
    storage = kept_gb * prices.S3_GB + puts / 1e6 * prices.S3_MILLION_PUTS
    logs_gb = num_reads * LOG_BYTES_PER_READ / 1e9
    own = len(metrics.UNITS) + len(metrics.BY_VERSION) + 1  # ECS's CPU every 20 s is billed too
    num_metrics, num_alarms, dashboards = own, NUM_ALARM_METRICS - NUM_COMFORT_ALARM_METRICS, 0
    if environment.has_comforts:
        num_metrics, num_alarms, dashboards = own + NUM_INSIGHT_METRICS, NUM_ALARM_METRICS, 1
    watching = (
        num_metrics * prices.METRIC
        + num_alarms * prices.ALARM
        + NUM_FAST_ALARMS * prices.FAST_ALARM
        + dashboards * prices.DASHBOARD
        + logs_gb * prices.LOGS_GB
    )
    return [
        Line(
            "Captures, reports (S3)",
            storage,
            f"{kept_gb:.0f} GB kept, {math.ceil(puts / 1e3)} k writes",
        ),
        Line(
            "CloudWatch",
            watching,
            f"{num_metrics} custom metrics, {num_alarms + NUM_FAST_ALARMS} in alarms, "
            f"{dashboards} dashboard, {logs_gb:.1f} GB of logs",
        ),
    ]


def _keys(environment: Environment, task_h: float) -> Line:
    # the golden read's function reads its key each minute; each read decrypts with our KMS key
    reads = (task_h * KEY_READS_H + HOURS_PER_MONTH * 60) / 1e6
    keys = 2 if environment.has_comforts else 1
    secrets = NUM_SECRETS + (NUM_COMFORT_SECRETS if environment.has_comforts else 0)
    return Line(
        "Keys and secrets",
        keys * prices.KMS_KEY
        + secrets * prices.SECRET
        + reads * (prices.SECRET_MILLION_CALLS + prices.KMS_MILLION_CALLS),
        f"{keys} keys, {secrets} secrets, {reads:.1f} M reads of the API keys",
    )


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
