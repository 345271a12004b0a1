"""The scheduled jobs: monthly retraining, daily compaction and drift report.

Each function defines one job: command, settings, and the objects that it may access.
"""

from __future__ import annotations

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_secretsmanager as secretsmanager

from infra import grants, settings
from infra.foundation_stack import Foundation
from infra.grants import ObjectGrant
from infra.scheduled_job import Job

_ALL = grants.READ + grants.WRITE + grants.DELETE


def retrain(foundation: Foundation, tracking_uri: str, admin: secretsmanager.Secret) -> Job:
    """Fit with the new labels, evaluate, register, notify; an operator decides on promotion."""
    return Job(
        name="Retrain",
        command=(
            *("python", "-m", "training", "retrain", "--until", "gate"),
            *("--work", f"{settings.WRITABLE}/train"),
        ),
        environment={
            "DIGITS_CAPTURE_STORE": foundation.captures.url("captures"),
            "DIGITS_DATA_STORE": foundation.training.url("mail"),
            "DIGITS_REPORTS": foundation.reports.url("drift"),
            "DIGITS_ALERTS": _alerts(foundation),
            "DIGITS_DATA_CACHE": f"{settings.WRITABLE}/mnist",
            "DIGITS_DATA_LOCATION": foundation.training.url("mnist"),
            "MLFLOW_TRACKING_URI": tracking_uri,
        },
        secrets={
            "MLFLOW_TRACKING_USERNAME": ecs.Secret.from_secrets_manager(admin, "username"),
            "MLFLOW_TRACKING_PASSWORD": ecs.Secret.from_secrets_manager(admin, "password"),
        },
        objects=(
            ObjectGrant(foundation.training, "mnist", grants.READ, "training reads MNIST"),
            ObjectGrant(
                foundation.captures, "captures", grants.READ, "training uses labelled captures"
            ),
            ObjectGrant(
                foundation.captures,
                "captures/labelled",
                grants.WRITE,
                "labelled crops outlive the captures",
            ),
            ObjectGrant(
                foundation.training,
                "mail",
                grants.READ + grants.WRITE,
                "each month's data set is stored, and is the next one's parent",
            ),
            ObjectGrant(
                foundation.reports,
                "drift",
                _ALL,
                "the outcome stays in the outbox until every sink has accepted it",
            ),
        ),
        alerts=True,
        size=settings.RETRAIN_TASK,
        timeout_min=settings.RETRAIN_TIMEOUT_MIN,
        cron=settings.RETRAIN_CRON,
    )


def compact(foundation: Foundation) -> Job:
    """Merge captures into one file per day and site: reports open dozens, not thousands."""
    return Job(
        name="Compact",
        command=("python", "-m", "monitoring", "compact"),
        environment={"DIGITS_CAPTURE_STORE": foundation.captures.url("captures")},
        objects=(
            ObjectGrant(
                foundation.captures,
                "captures",
                _ALL,
                "compaction replaces many small files by one, and expiry deletes old files",
            ),
        ),
        size=settings.COMPACT_TASK,
        timeout_min=settings.COMPACT_TIMEOUT_MIN,
        cron=settings.COMPACT_CRON,
    )


def drift(foundation: Foundation) -> Job:
    """Compare yesterday's captures with the reference, and report the drift."""
    return Job(
        name="Drift",
        command=("python", "-m", "monitoring", "report"),
        environment={
            "DIGITS_CAPTURE_STORE": foundation.captures.url("captures"),
            "DIGITS_REPORTS": foundation.reports.url("drift"),
            "DIGITS_ALERTS": _alerts(foundation),
            "DIGITS_EMF": "on",
        },
        objects=(
            ObjectGrant(
                foundation.captures, "captures", grants.READ, "the drift report reads captures"
            ),
            ObjectGrant(
                foundation.reports,
                "drift",
                _ALL,
                "the job writes reports and their index, and deletes delivered alerts",
            ),
        ),
        alerts=True,
        size=settings.DRIFT_TASK,
        timeout_min=settings.DRIFT_TIMEOUT_MIN,
        cron=settings.DRIFT_CRON,
    )


def _alerts(foundation: Foundation) -> str:
    """The sinks of ``DIGITS_ALERTS``."""
    return f"log: sns:{foundation.ticket.topic_arn}"
