"""The release machine: which tags are written, when, and what follows a rollback."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

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
