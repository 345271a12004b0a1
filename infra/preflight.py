"""``python -m infra preflight``: compares an account's quotas with what an environment needs.

A new account may run fewer Fargate tasks than a canary needs: while it runs, the old and the new
tasks run side by side. AWS raises a quota on request, which can take days.

Codes and defaults: AWS General Reference, service quotas of Fargate, VPC, Elastic Load Balancing
and RDS.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import ClientError

from infra import settings
from infra.capacity import Plan
from infra.settings import Environment


@dataclass(frozen=True, slots=True)
class Need:
    """One quota, and how much of it an environment needs."""

    service: str  # of Service Quotas
    code: str
    what: str
    amount: float
    why: str


def needs(environment: Environment, plan: Plan) -> tuple[Need, ...]:
    """The quotas that a new account may not have."""
    jobs = (settings.RETRAIN_TASK, settings.COMPACT_TASK, settings.DRIFT_TASK)
    canary = 2 * plan.max_tasks * environment.task.vcpus
    others = sum(size.vcpus for size in jobs) + 2 * settings.MLFLOW_TASK.vcpus
    return (
        Need(
            "fargate",
            "L-3032A538",
            "Fargate On-Demand vCPUs",
            math.ceil(canary + others),
            f"{plan.max_tasks} tasks of {environment.task.vcpus:g} vCPU twice in a canary, "
            f"{others:g} for jobs and MLflow",
        ),
        Need("vpc", "L-F678F1CE", "VPCs", 1, "one"),
        Need("elasticloadbalancing", "L-53DA6B97", "application load balancers", 1, "one"),
        Need("rds", "L-7B6409FD", "database instances", 2, "MLflow's, twice while it is restored"),
    )


def run(options: argparse.Namespace) -> int:
    """Print each quota; returns 1 if one is too low."""
    from infra import capacity
    from infra.app import ENVIRONMENTS

    environment = next((e for e in ENVIRONMENTS if e.name == options.environment), None)
    if environment is None:
        print(f"no environment {options.environment!r}: {', '.join(e.name for e in ENVIRONMENTS)}")
        return 2
    plan = capacity.plan(environment, capacity.read_measured())
    client = boto3.client("service-quotas", region_name=environment.region)
    lines, num_low = report(client, needs(environment, plan))
    print("\n".join(lines))
    return 1 if num_low else 0


def report(client: Any, needed: Sequence[Need]) -> tuple[list[str], int]:
    """A line for each quota, with the request for each that is too low; how many are.

    What the account uses already is not counted: an environment has an account of its own.
    """
    lines, num_low = [], 0
    for need in needed:
        quota = _quota(client, need)
        is_low = quota < need.amount
        num_low += is_low
        lines.append(
            f"{'LOW' if is_low else 'ok ':<3}  {need.what}: {need.amount:g} needed ({need.why}), "
            f"{quota:g} allowed"
        )
        if is_low:
            lines.append(
                "     ask: aws service-quotas request-service-quota-increase "
                f"--service-code {need.service} --quota-code {need.code} "
                f"--desired-value {need.amount:g}"
            )
    return lines, num_low


def _quota(client: Any, need: Need) -> float:
    """The account's value, or AWS's default where the account has none of its own."""
    names = {"ServiceCode": need.service, "QuotaCode": need.code}
    try:
        found = client.get_service_quota(**names)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchResourceException":
            raise
        found = client.get_aws_default_service_quota(**names)
    return float(found["Quota"]["Value"])
