"""A mutation: an edit of a copy of production's templates that a rule or a linter must report."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.world import Template

Change = Callable[["Templates"], None]
MUTATIONS: list[Mutation] = []


@dataclass(frozen=True)
class Mutation:
    """A fault, and the name of the rule, or of the linter's check, that must report it."""

    rule: str
    change: Change

    @property
    def linter(self) -> str:
        """The linter that the check belongs to; empty for a rule."""
        names = {"CKV": "checkov", "E": "cfn-lint"}
        return next((names[start] for start in names if self.rule.startswith(start)), "")

    @property
    def name(self) -> str:
        return self.change.__name__

    def __str__(self) -> str:
        return self.name

    def changed(self, stacks: dict[str, Template]) -> dict[str, Template]:
        """A copy of the templates with the fault.

        Args:
            stacks: one environment's templates.
        """
        templates = copy.deepcopy(stacks)
        self.change(Templates(templates))
        assert templates != stacks, f"{self} changed nothing"
        return templates


def seeds(rule: str) -> Callable[[Change], Change]:
    def register(change: Change) -> Change:
        MUTATIONS.append(Mutation(rule, change))
        return change

    return register


class Templates:
    """Looks up the parts of the templates that mutations change."""

    def __init__(self, templates: dict[str, Template]) -> None:
        self.stacks = templates

    def all(self, kind: str, name: str = "") -> list[dict[str, Any]]:
        """Bodies of the resources of a type whose logical id starts with ``name``."""
        return [
            body
            for template in self.stacks.values()
            for logical_id, body in template["Resources"].items()
            if body["Type"] == f"AWS::{kind}" and logical_id.startswith(name)
        ]

    def one(self, kind: str, name: str = "") -> dict[str, Any]:
        """Properties of the first of them."""
        return self.all(kind, name)[0]["Properties"]

    def container(self, name: str) -> dict[str, Any]:
        tasks = self.all("ECS::TaskDefinition")
        containers = [c for t in tasks for c in t["Properties"]["ContainerDefinitions"]]
        return next(c for c in containers if c["Name"] == name)

    def delete(self, kind: str, name: str = "") -> None:
        for template in self.stacks.values():
            for logical_id, body in list(template["Resources"].items()):
                if body["Type"] == f"AWS::{kind}" and logical_id.startswith(name):
                    del template["Resources"][logical_id]

    def replace(self, kind: str, name: str, old: str, new: str) -> None:
        """Replace text in the JSON of a resource; fails if the text is not there."""
        body = self.all(kind, name)[0]
        text = json.dumps(body)
        assert old in text, f"{old} is not in {kind} {name}"
        body.update(json.loads(text.replace(old, new)))

    def policy_of(self, name: str) -> list[dict[str, Any]]:
        """The statements of the policy of a role."""
        return self.one("IAM::Policy", name)["PolicyDocument"]["Statement"]


def attribute(attributes: list[dict[str, str]], key: str) -> dict[str, str]:
    return next(a for a in attributes if a["Key"] == key)


def set_variable(container: dict[str, Any], name: str, value: str) -> None:
    next(v for v in container["Environment"] if v["Name"] == name)["Value"] = value


def replaces(rule: str, faults: dict[str, tuple[str, str, str, str]]) -> None:
    """Faults that replace text: name -> type, start of the logical id, old text, new text."""
    for name, (kind, part, old, new) in faults.items():

        def change(t: Templates, what: tuple[str, str, str, str] = (kind, part, old, new)) -> None:
            t.replace(*what)

        change.__name__ = name
        MUTATIONS.append(Mutation(rule, change))


def deletes(rule: str, faults: dict[str, tuple[str, ...]]) -> None:
    """Faults that delete resources: name -> type, and optionally the start of the logical id."""
    for name, what in faults.items():

        def change(t: Templates, what: tuple[str, ...] = what) -> None:
            t.delete(*what)

        change.__name__ = name
        MUTATIONS.append(Mutation(rule, change))


SERVICE, TARGET = "ECS::Service", "ApplicationAutoScaling::ScalableTarget"
POLICY, DASHBOARD = "ApplicationAutoScaling::ScalingPolicy", "CloudWatch::Dashboard"
GROUP, ALB = "ElasticLoadBalancingV2::TargetGroup", "ElasticLoadBalancingV2::LoadBalancer"
ALARM, MACHINE = "CloudWatch::Alarm", "StepFunctions::StateMachine"
