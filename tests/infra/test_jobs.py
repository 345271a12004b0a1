"""Runs the scheduled jobs with the command, environment and permissions of their tasks.

Production is created in moto (``test_deployment.py``). Each test looks up a schedule, follows it to
its state machine and task definition as AWS does, assumes the task's role and runs the container's
command against the moto server, which denies what the role does not allow.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deployment import Deployment
from moto import settings as moto_settings

from infra import settings

ROOT = settings.REPOSITORY_ROOT
PYTHON = ROOT / ".venv" / "bin" / "python"
MNIST = ROOT / ".cache" / "mnist"  # `python -m training crops` downloads it there
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date()

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason="the jobs need .venv (make setup), which does not exist",
)


class Task:
    """A container of a task definition, to run on this machine."""

    def __init__(self, prod: Deployment, task_definition: str, container: str) -> None:
        ecs = prod.client("ecs")
        task = ecs.describe_task_definition(taskDefinition=task_definition)["taskDefinition"]
        found = next(c for c in task["containerDefinitions"] if c["name"] == container)
        self.prod = prod
        self.command = [str(PYTHON) if w == "python" else w for w in found["command"]]
        self.variables = {v["name"]: v["value"] for v in found["environment"]}
        session = prod.client("sts").assume_role(
            RoleArn=task["taskRoleArn"], RoleSessionName=container
        )
        self.credentials = session["Credentials"]

    def environment(self, **changes: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "DIGITS_"))}
        return {
            **clean,
            **self.variables,
            "AWS_ENDPOINT_URL": self.prod.endpoint,
            "AWS_ACCESS_KEY_ID": self.credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": self.credentials["SessionToken"],
            "PYTHONPATH": str(ROOT),
            **changes,
        }

    def run(
        self, command: list[str] | None = None, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        with permissions_enforced():
            return subprocess.run(
                command or self.command,
                cwd=ROOT,
                env=self.environment(**changes),
                capture_output=True,
                text=True,
                timeout=480,
                check=False,
            )


@contextmanager
def permissions_enforced() -> Iterator[None]:
    """Let moto check each request against the caller's policies."""
    free = moto_settings.INITIAL_NO_AUTH_ACTION_COUNT
    moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    try:
        yield
    finally:
        moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = free


def scheduled(prod: Deployment, name: str) -> Task:
    """The task of a schedule, looked up as AWS does."""
    schedule = prod.client("scheduler").get_schedule(Name=f"digitline-prod-mlops-{name}")
    assert schedule["State"] == "ENABLED"
    machine = prod.client("stepfunctions").describe_state_machine(
        stateMachineArn=schedule["Target"]["Arn"]
    )
    run = json.loads(machine["definition"])["States"]["Run"]
    return Task(prod, run["Parameters"]["TaskDefinition"], name)


def keys(prod: Deployment, output: str) -> list[str]:
    """The keys in a bucket that foundation's outputs name."""
    bucket = prod.outputs["foundation"][output]
    found = prod.client("s3").list_objects_v2(Bucket=bucket)
    return [entry["Key"] for entry in found.get("Contents", [])]


def listen(prod: Deployment, topic: str) -> str:
    """Subscribe a new queue to a topic; returns the queue's URL."""
    sqs = prod.client("sqs")
    queue = str(sqs.create_queue(QueueName=f"listener-{time.time_ns()}")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    prod.client("sns").subscribe(
        TopicArn=prod.outputs["foundation"][f"{topic}Topic"],
        Protocol="sqs",
        Endpoint=arn["Attributes"]["QueueArn"],
    )
    return queue


def messages(prod: Deployment, queue: str) -> list[dict[str, Any]]:
    answer = prod.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


@pytest.fixture(scope="module")
def shipped(prod: Deployment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """600 crops of yesterday, read by the champion and shipped by the service's sidecar."""
    spool = tmp_path_factory.mktemp("task") / "spool"
    fill = [str(PYTHON), str(Path(__file__).parent / "fill_spool.py"), str(spool)]
    made = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*fill, str(YESTERDAY), "600"], env=made, check=True, capture_output=True)
    service = prod.client("ecs").describe_services(
        cluster=prod.outputs["service"]["ClusterName"],
        services=[prod.outputs["service"]["ServiceName"]],
    )["services"][0]
    sidecar = Task(prod, service["taskDefinition"], "shipper")
    with permissions_enforced():
        process = subprocess.Popen(
            sidecar.command,
            cwd=ROOT,
            env=sidecar.environment(DIGITS_CAPTURE_DIR=str(spool)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(300):
            if not list(spool.glob("*.done")) or process.poll() is not None:
                break
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)  # as ECS stops it
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


def test_the_sidecar_ships_the_spooled_records(prod: Deployment, shipped: str) -> None:
    files = [key for key in keys(prod, "CapturesBucket") if key.endswith(".parquet")]
    assert files
    assert all(key.startswith("captures/") for key in files)
    assert any(str(YESTERDAY) in key for key in files)


def test_the_scheduled_compaction_and_drift_report_run(prod: Deployment, shipped: str) -> None:
    queue = listen(prod, "Ticket")
    compacted = scheduled(prod, "compact").run()
    assert compacted.returncode == 0, compacted.stderr
    report = scheduled(prod, "drift").run()
    assert report.returncode == 0, report.stdout + report.stderr
    assert "600 records" in report.stdout
    metrics = [json.loads(line) for line in report.stdout.splitlines() if line.startswith("{")]
    written = {name for line in metrics for name in line}
    assert {"DriftReportCompleted", "DriftSeverity", "Service"} <= written
    severity = max(line.get("DriftSeverity", 0) for line in metrics)
    assert bool(messages(prod, queue)) == (severity > 0), "an alert, exactly if something drifted"
    pages = keys(prod, "ReportsBucket")
    assert f"drift/{YESTERDAY}/index.html" in pages
    assert "drift/index.html" in pages


def test_the_shipper_may_not_read_captures(prod: Deployment, shipped: str) -> None:
    service = prod.client("ecs").describe_services(
        cluster=prod.outputs["service"]["ClusterName"],
        services=[prod.outputs["service"]["ServiceName"]],
    )["services"][0]
    sidecar = Task(prod, service["taskDefinition"], "shipper")
    bucket = prod.outputs["foundation"]["CapturesBucket"]
    key = next(k for k in keys(prod, "CapturesBucket") if k.endswith(".parquet"))
    read = f"import boto3; boto3.client('s3').get_object(Bucket={bucket!r}, Key={key!r})"
    refused = sidecar.run([str(PYTHON), "-c", read])
    assert "AccessDenied" in refused.stderr


@pytest.mark.parametrize("name", ["compact", "drift", "retrain"])
def test_a_scheduled_command_exists(prod: Deployment, name: str) -> None:
    task = scheduled(prod, name)
    done = task.run([*task.command, "--help"])
    assert done.returncode == 0, done.stderr


def test_retraining_without_labels_reports_it(prod: Deployment, tmp_path: Path) -> None:
    retrain = scheduled(prod, "retrain")
    here = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    done = retrain.run([*retrain.command, "--work", str(tmp_path)], **here)
    assert done.returncode == 0, done.stderr
    assert "has no crop to train on" in done.stdout


@pytest.mark.skipif(not MNIST.exists(), reason="no MNIST: `python -m training crops` downloads it")
def test_the_scheduled_retraining_uses_new_labels(
    prod: Deployment, shipped: str, tmp_path: Path
) -> None:
    bucket = prod.outputs["foundation"]["TrainingBucket"]
    for file in MNIST.iterdir():
        prod.client("s3").upload_file(str(file), bucket, f"mnist/{file.name}")
    rows = [f"0193465c-5800-7000-8000-{index:012d},0,{index % 10}" for index in range(40)]
    (tmp_path / "truth.csv").write_text("\n".join(["request_id,crop_index,label", *rows]))
    captures = prod.outputs["foundation"]["CapturesBucket"]
    compact = scheduled(prod, "compact")  # its role may write there, as an operator's may
    label = [str(PYTHON), "-m", "monitoring", "label", str(tmp_path / "truth.csv")]
    labelled = compact.run([*label, "--who", "ada", "--store", f"s3://{captures}/captures"])
    assert labelled.returncode == 0, labelled.stderr
    retrain = scheduled(prod, "retrain")
    retrain.variables |= {
        "DIGITS_DATA_CACHE": str(tmp_path / "mnist"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }
    as_of = f"{datetime.now(UTC):%Y-%m}"
    shortened = ["--work", str(tmp_path / "train"), "--as-of", as_of, "--until", "validate"]
    made = retrain.run([*retrain.command, *shortened])
    assert made.returncode == 0, made.stdout + made.stderr
    assert "== validate" in made.stdout
    stored = keys(prod, "TrainingBucket")
    assert f"mail/snapshots/{as_of}/manifest.json" in stored


def test_the_retraining_task_may_publish_its_outcome(prod: Deployment, tmp_path: Path) -> None:
    queue = listen(prod, "Ticket")
    event = {
        "topic": "retrain", "severity": 1, "title": "Retraining: refused", "details": ["floor"],
        "sites": [], "since": "2026-11-01", "window": "2026-11-01", "link": "run", "to_do": "read",
    }  # fmt: skip
    (tmp_path / "outcome.json").write_text(json.dumps(event))
    command = [str(PYTHON), "-m", "monitoring", "tell", str(tmp_path / "outcome.json")]
    done = scheduled(prod, "retrain").run(command)
    assert done.returncode == 0, done.stderr
    (message,) = messages(prod, queue)
    assert message["Subject"] == "Retraining: refused"


@pytest.mark.parametrize("topic", ["Page", "Ticket", "Notices"])
def test_a_published_message_is_received(prod: Deployment, topic: str) -> None:
    queue = listen(prod, topic)
    place = prod.outputs["foundation"][f"{topic}Topic"]
    prod.client("sns").publish(TopicArn=place, Subject="Digitline", Message="site 7 is dirty")
    (message,) = messages(prod, queue)
    assert (message["Subject"], message["Message"]) == ("Digitline", "site 7 is dirty")
