"""The sizes of the deployment, with units and reasons.

Environments differ only in :class:`Environment` (``app.py``). Everything else is the same in
staging and production, so a test in staging is valid for production. Knows nothing about CDK.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contract import slo

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class TaskSize:
    """A Fargate task: 1024 CPU units are one vCPU."""

    cpu_units: int
    memory_mib: int

    @property
    def vcpus(self) -> float:
        """CPU units as a number of vCPUs."""
        return self.cpu_units / 1024


NUM_AZS: Final = 3  # one may fail and the others hold the peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One complete deployment, in an AWS account of its own."""

    name: str  # also the prefix of its stacks, metrics dashboards and SSM parameters
    region: str
    cidr: str  # of the VPC; environments do not overlap, so that they can be peered
    planned_rps: float  # requests per second, sustained
    peak_rps: float  # requests per second while the planned trucks unload at once
    num_endpoint_azs: int  # AZs with interface endpoints, billed by the hour; 0: tasks with public
    # addresses, which nobody can reach, and with a way out
    keeps_data: bool  # deletion protection; buckets, keys and the database survive their stack
    monthly_budget_usd: int  # alarm at 80 % spent and at 100 % forecast
    num_azs: int = NUM_AZS
    task: TaskSize = TaskSize(
        cpu_units=1024, memory_mib=2048
    )  # the size that the image is tested at
    # MLflow with its database, the scheduled retraining, the dashboard, and ECS's counts of tasks
    # (Container Insights) with their alarms
    has_comforts: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{1,11}", self.name):
            raise ValueError(f"environment name {self.name!r}: 2 to 12 of a-z and 0-9 are allowed")

    @property
    def is_isolated(self) -> bool:
        """Whether tasks have no route to the internet."""
        return self.num_endpoint_azs > 0

    def parameter(self, name: str) -> str:
        """The name of an SSM parameter, which the operator sets (docs/deploy.md)."""
        return f"/digitline/{self.name}/{name}"


@dataclass(frozen=True, slots=True)
class TruckHours:
    """Hours in which trucks unload; the scheduled minimum of tasks holds the peak then."""

    first_hour: int = 4
    last_hour: int = 12
    days: str = "MON-SAT"
    days_per_week: int = 6
    timezone: str = "Europe/Berlin"
    lead_min: int = 15  # before the first truck: a start takes ~1 minute, the rest is slack


# --- the objective: one file for load tests, alarms and documents -------------------------------
_SLO = slo.load()
P99_MS = _SLO.p99_ms
ERROR_FRAC = _SLO.error_frac
PLANNED_RPS = _SLO.sustained_rps
PEAK_RPS = _SLO.burst_rps

# --- network ------------------------------------------------------------------------------------
SERVICE_PORT = 3000
MLFLOW_PORT = 5000
POSTGRES_PORT = 5432
HTTPS_PORT = 443
METRICS_PRIORITY = 1  # of the listener's rules, the lowest number comes first
TEST_PRIORITY = 5
TEST_HEADER = "x-digitline-test"  # requests with it go to the version that is being released
PRODUCTION_PRIORITY = 10
# Read from outside: of each digit a small file in tests/data/crops that champions 6 and 7 accept
# with 0.9998 or more. All ten must fit into the 4 KB of a function's environment.
GOLDEN_CROPS = (
    *("0-09704", "1-05132", "2-00624", "3-04996", "4-01453"),
    *("5-03636", "6-01632", "7-03594", "8-03340", "9-02019"),
)
MAX_RULE_PRIORITY = 50_000  # Elastic Load Balancing's limit

# --- timeouts (the others: contract/timeouts.py) ------------------------------------------------
MAX_STOP_TIMEOUT_S = 120  # Fargate's limit

# --- health -------------------------------------------------------------------------------------
HEALTH_PATH = "/readyz"  # reads the golden crop through the whole path
HEALTH_INTERVAL_S = 10
HEALTH_TIMEOUT_S = 5  # < interval
HEALTHY_CHECKS = 2
UNHEALTHY_CHECKS = 3
START_GRACE_S = 60  # start to ready <= 3 s at 1 vCPU; pulling the image is not counted

# --- the service's task (its size: Environment.task) --------------------------------------------
SHIPPER_MEMORY_FRAC = 0.5  # a limit: a huge segment may kill the shipper, but not the server
CONTAINER_USER = "10001"  # owner of the writable folder in each image
WRITABLE = "/var/lib/digitline"  # the only writable folder of any container: a VOLUME of each image
ERROR_TARGET = 0.001  # share of accepted crops that may be misread: the champion's default

# --- canary -------------------------------------------------------------------------------------
CANARY_PERCENT = 10.0
CANARY_MIN = 5  # minutes at 10 %; the rollback alarms need 2 of 3 one-minute periods
BAKE_MIN = 10  # minutes at 100 % while the old tasks still run
STUCK_DEPLOYMENT_MIN = 45  # canary + bake + start + drain take less than 25 min

# --- autoscaling (how many: capacity.py) --------------------------------------------------------
CPU_TARGET_PERCENT = 50.0
BURST_CPU_PERCENT = 40.0  # one datapoint above it adds tasks; the planned peak is below 10 %
BURST_STEPS = ((0, 15, 50), (15, 35, 100), (35, None, 150))  # points above it: percent more tasks
CPU_METRIC_RESOLUTION_S = 20  # ECS high-resolution metrics: 20 or 60
SCALE_OUT_COOLDOWN_S = 30
SCALE_IN_COOLDOWN_S = 300  # trucks come minutes apart: keep the tasks between two
TRUCK_HOURS = TruckHours()

# --- web application firewall -------------------------------------------------------------------
WAF_WINDOW_S = 60  # the shortest window of AWS WAF
WAF_HEADROOM = 2.0  # all scanners of a network may share one address

# --- training and monitoring jobs ---------------------------------------------------------------
RETRAIN_TASK = TaskSize(cpu_units=4096, memory_mib=8192)
RETRAIN_TIMEOUT_MIN = 120  # 13.5 minutes on 2 cores (README); the rest is for more data
RETRAIN_CRON = "cron(0 2 1 * ? *)"  # 02:00 on the first of the month: outside truck hours
COMPACT_TASK = TaskSize(cpu_units=1024, memory_mib=4096)
COMPACT_TIMEOUT_MIN = 60
COMPACT_CRON = "cron(45 0 * * ? *)"  # 00:45: all of yesterday's captures are shipped by then
DRIFT_TASK = TaskSize(cpu_units=1024, memory_mib=4096)  # Evidently over one day of samples
DRIFT_TIMEOUT_MIN = 60
DRIFT_CRON = "cron(30 1 * * ? *)"  # 01:30, after compaction
JOB_TIMEZONE = TRUCK_HOURS.timezone
JOB_ATTEMPTS = 2  # retries of a failed task, with back-off
SCHEDULE_RETRIES = 3  # of a start that did not reach Step Functions; then the dead letters
SCHEDULE_MAX_AGE_H = 2

# --- MLflow -------------------------------------------------------------------------------------
MLFLOW_TASK = TaskSize(cpu_units=512, memory_mib=2048)  # holds 687 MiB: deploy/image.sh mlflow
MLFLOW_WORKERS = 2
DATABASE_START_CRON = "cron(0 1 1 * ? *)"  # an hour before the retraining
MLFLOW_START_CRON = "cron(30 1 1 * ? *)"
MLFLOW_STOP_CRON = "cron(0 20 * * ? *)"  # each evening, whoever started it
DATABASE_STOP_CRON = "cron(15 20,22 * * ? *)"  # twice: mlflow_hours.py
# The agent of ECS Exec, through which operators reach MLflow, runs in the container as root and
# writes here. AWS documents that it does not work with a read-only image; users report that it does
# with these folders as volumes (aws/containers-roadmap issue 1359, amazon-ecs-exec-checker 71).
EXEC_AGENT_FOLDERS = ("/managed-agents", "/var/lib/amazon/ssm", "/var/log/amazon/ssm")
DATABASE_CLASS = "t4g.micro"  # a few rows a month
DATABASE_GIB = 20  # the smallest gp3
DATABASE_BACKUP_DAYS = 7

# --- retention ----------------------------------------------------------------------------------
CAPTURE_DAYS = 90  # handwriting is personal data: gone by then, old versions too (docs/privacy.md)
CAPTURE_RESTORE_DAYS = 7  # of them, as an older version
# Compaction rewrites records a day later; each of S3's two rules waits for the next midnight.
CAPTURE_EXPIRE_DAYS = CAPTURE_DAYS - CAPTURE_RESTORE_DAYS - 3
REPORT_DAYS = 730
ACCESS_LOG_DAYS = 90
NONCURRENT_DAYS = 30  # time to restore an overwritten or deleted object
LOG_DAYS = 90
NUM_IMAGES_KEPT = 50  # one per release: a year of rollbacks at one release a week

# --- alarms -------------------------------------------------------------------------------------
ALARM_ERROR_FRAC = 10 * ERROR_FRAC  # uses up a month's error budget in three days
ALARM_SHED_FRAC = 0.01
ALARM_REJECT_FRAC = 0.25  # champion 5 rejects 3 % of clean and 11 % of rendered scans: twice that
ALARM_VERSION_DIFFERENCE = 0.15  # share of rejects; 3.5 standard deviations of 11 % in 50 crops
ALARM_MIN_CROPS = 50  # a minute, of each of the two versions
ALARM_MIN_REQUESTS = 100  # a minute with fewer is too small a sample for shares
ALARM_BACKLOG_BYTES = 64 * 2**20  # a day at 100 RPS of 28x28 crops takes ~7 GiB; 30 s take 2.5 MB
DRIFT_SILENCE_H = 30  # a daily report, six hours late
