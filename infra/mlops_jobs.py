"""What runs by the clock: monthly retraining, daily compaction and drift report.

Each function says what one job runs, with which settings and on which objects.
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
    """Fit on what grew, judge, register, tell; promotion stays a person's decision."""
    return Job(
        name="Retrain",
        command=(
            *("python", "-m", "training", "retrain", "--until", "gate"),
            *("--work", f"{settings.WRITABLE}/train"),
        ),
        environment={
            "DIGITS_CAPTURE_STORE": foundation.captures.url("captures"),
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
            ObjectGrant(foundation.training, "mnist", grants.READ, "what training reads"),
            ObjectGrant(
                foundation.captures, "captures", grants.READ, "labelled captures join the training"
            ),
            ObjectGrant(
                foundation.reports,
                "drift",
                _ALL,
                "the outcome waits in the outbox until every sink took it",
            ),
        ),
        alerts=True,
        size=settings.RETRAIN_TASK,
        timeout_min=settings.RETRAIN_TIMEOUT_MIN,
        cron=settings.RETRAIN_CRON,
    )


def compact(foundation: Foundation) -> Job:
    """One file for each day and site, so that a report opens dozens and not thousands."""
    return Job(
        name="Compact",
        command=("python", "-m", "monitoring", "compact"),
        environment={"DIGITS_CAPTURE_STORE": foundation.captures.url("captures")},
        objects=(
            ObjectGrant(
                foundation.captures,
                "captures",
                _ALL,
                "compaction replaces many small files by one, and expiry deletes old ones",
            ),
        ),
        size=settings.COMPACT_TASK,
        timeout_min=settings.COMPACT_TIMEOUT_MIN,
        cron=settings.COMPACT_CRON,
    )


def drift(foundation: Foundation) -> Job:
    """Compare yesterday's captures with the reference, and tell what drifted."""
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
                foundation.captures, "captures", grants.READ, "what the drift report reads"
            ),
            ObjectGrant(
                foundation.reports,
                "drift",
                _ALL,
                "reports and their index; delivered alerts are deleted",
            ),
        ),
        alerts=True,
        size=settings.DRIFT_TASK,
        timeout_min=settings.DRIFT_TIMEOUT_MIN,
        cron=settings.DRIFT_CRON,
    )


def _alerts(foundation: Foundation) -> str:
    """The sinks of ``DIGITS_ALERTS``."""
    return f"log: sns:{foundation.alerts.topic_arn}"
