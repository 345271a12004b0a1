"""Quotas are compared with what a canary needs; botocore checks each call's form."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from infra import capacity, preflight
from infra.__main__ import main
from infra.app import PROD
from infra.capacity import Measured

PLAN = capacity.plan(PROD, Measured(1500, "test"))
FARGATE = next(need for need in preflight.needs(PROD, PLAN) if need.service == "fargate")


@pytest.fixture
def quotas() -> Any:
    return boto3.client(
        "service-quotas",
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def answer(stub: Stubber, operation: str, value: float) -> None:
    names = {"ServiceCode": FARGATE.service, "QuotaCode": FARGATE.code}
    stub.add_response(operation, {"Quota": {"Value": value}}, names)


def test_a_canary_at_the_maximum_counts_every_task_twice() -> None:
    assert FARGATE.amount > 2 * PLAN.max_tasks * PROD.task.vcpus


def test_a_quota_that_is_too_low_is_reported_with_the_request(quotas: Any) -> None:
    with Stubber(quotas) as stub:
        answer(stub, "get_service_quota", FARGATE.amount - 1)
        lines, num_low = preflight.report(quotas, [FARGATE])
    assert num_low == 1
    assert lines[0].startswith("LOW")
    assert f"--quota-code {FARGATE.code} --desired-value {FARGATE.amount:g}" in lines[1]


def test_a_quota_that_suffices_asks_for_nothing(quotas: Any) -> None:
    with Stubber(quotas) as stub:
        answer(stub, "get_service_quota", FARGATE.amount)
        lines, num_low = preflight.report(quotas, [FARGATE])
    assert (len(lines), num_low) == (1, 0)


def test_an_account_without_a_value_of_its_own_has_the_default(quotas: Any) -> None:
    with Stubber(quotas) as stub:
        stub.add_client_error("get_service_quota", "NoSuchResourceException")
        answer(stub, "get_aws_default_service_quota", 6)
        _, num_low = preflight.report(quotas, [FARGATE])
    assert num_low == 1


def test_another_error_is_not_taken_for_the_default(quotas: Any) -> None:
    with Stubber(quotas) as stub:
        stub.add_client_error("get_service_quota", "AccessDeniedException")
        with pytest.raises(quotas.exceptions.ClientError, match="AccessDenied"):
            preflight.report(quotas, [FARGATE])


@pytest.mark.parametrize(
    "arguments",
    [
        ["preflight", "--environment", "prod"],
        ["keys", "list", "--environment", "prod"],
        ["mlflow", "start", "--environment", "prod"],
    ],
)
def test_without_credentials_a_command_says_so_and_what_to_ask(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers the keys of other tests
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("Unable to locate credentials\n")
    assert "aws sts get-caller-identity" in told
