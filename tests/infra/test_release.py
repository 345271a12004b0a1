"""The release machine: which tags are written, when, and what follows a rollback."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from infra.release_wait import NotReleased, wait
from infra.world import Template

States = dict[str, Any]


@pytest.fixture(scope="module")
def states(synthesised: dict[str, dict[str, Template]]) -> States:
    resources = synthesised["prod"]["mlops"]["Resources"]
    machine = next(
        body["Properties"]
        for name, body in resources.items()
        if name.startswith("ReleaseMachine") and body["Type"] == "AWS::StepFunctions::StateMachine"
    )
    text = "".join(
        part if isinstance(part, str) else "X"
        for part in machine["DefinitionString"]["Fn::Join"][1]
    )
    definition = json.loads(text)
    return {"": definition["StartAt"], **definition["States"]}


def run(states: States, statuses: list[str], fails: str = "") -> list[str]:
    """The names of the states that run when the stacks report these statuses in turn."""
    name, seen, status = states[""], [], ""
    while True:
        seen.append(name)
        state = states[name]
        if re.fullmatch(r"Read\w+Status", name):
            status = statuses.pop(0)
        if name == fails:
            name = state["Catch"][0]["Next"]
        elif state["Type"] == "Choice":
            name = next(
                (c["Next"] for c in state["Choices"] if _matches(c, status)), state["Default"]
            )
        elif state["Type"] == "Fail" or state.get("End"):
            return seen
        else:
            name = state["Next"]


def _matches(choice: dict[str, str], status: str) -> bool:
    if "StringEquals" in choice:
        return choice["StringEquals"] == status
    return status.startswith(choice["StringMatches"].rstrip("*"))


def test_a_release_ends_only_when_both_stacks_are_updated(states: States) -> None:
    seen = run(states, ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE", "UPDATE_COMPLETE"])
    assert seen[-1] == "NoticeReleased"
    assert seen.count("ReadServiceStatus") == 2


def test_the_jobs_keep_their_champion_until_the_services_canary_is_through(states: States) -> None:
    seen = run(states, ["UPDATE_COMPLETE", "UPDATE_COMPLETE"])
    assert seen.index("ServiceEnded") < seen.index("WriteJobsTag")


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"])
def test_a_rolled_back_release_restores_its_tag_and_fails(states: States, status: str) -> None:
    seen = run(states, ["UPDATE_IN_PROGRESS", status])
    assert seen[-3:] == ["RestoreServiceTag", "NoticeNotReleased", "NotReleased"]
    assert "WriteJobsTag" not in seen


def test_an_update_that_cannot_start_restores_the_tag(states: States) -> None:
    assert run(states, [], fails="UpdateService")[-3] == "RestoreServiceTag"


def test_the_restored_tag_is_the_one_read_before_the_release(states: States) -> None:
    for image in ("Service", "Jobs"):
        read, restore = states[f"Read{image}Tag"], states[f"Restore{image}Tag"]
        assert restore["Parameters"]["Value.$"] == f"{read['ResultPath']}.tag"
        assert restore["Parameters"]["Name"] == read["Parameters"]["Name"]


BEGAN = datetime(2026, 11, 26, 23, tzinfo=UTC)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unused")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unused")


def executions(status: str, started: datetime) -> Any:
    """A client of Step Functions that lists one execution; botocore checks its shape."""
    client = boto3.client("stepfunctions", region_name="eu-central-1")
    arn = "arn:aws:states:eu-central-1:111122223333:stateMachine:digitline-prod-mlops-release"
    one = {
        "executionArn": arn.replace("stateMachine", "execution") + ":x",
        "stateMachineArn": arn,
        "name": "x",
        "status": status,
        "startDate": started,
    }
    stub = Stubber(client)
    for _ in range(99):
        stub.add_response("list_executions", {"executions": [one]})
    stub.activate()
    return client, arn


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_the_pipeline_fails_when_the_release_was_rolled_back(status: str) -> None:
    client, arn = executions(status, BEGAN + timedelta(seconds=5))
    with pytest.raises(NotReleased, match="the image before it serves"):
        wait(client, arn, BEGAN)


def test_the_pipeline_ends_when_the_release_succeeded() -> None:
    client, arn = executions("SUCCEEDED", BEGAN + timedelta(seconds=5))
    wait(client, arn, BEGAN)


def test_an_older_release_does_not_count_as_this_one() -> None:
    client, arn = executions("SUCCEEDED", BEGAN - timedelta(hours=1))
    now = itertools.count(step=20)
    with pytest.raises(NotReleased, match="no release began"):
        wait(client, arn, BEGAN, clock=lambda: next(now), sleep=lambda _: None)


def test_a_critical_finding_is_mailed(synthesised: dict[str, dict[str, Template]]) -> None:
    rules = [
        body["Properties"]
        for name, body in synthesised["prod"]["watch"]["Resources"].items()
        if name.startswith("CriticalFinding")
    ]
    assert rules[0]["EventPattern"]["detail-type"] == ["ECR Image Scan"]
    assert len(rules[0]["Targets"]) == 1
