"""Staging differs from production in a short list of values and in nothing else.

``infra/snapshots`` holds production's templates; the table below replaces staging's.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

from infra import capacity
from infra.app import LEAN, PROD, STAGING
from infra.settings import Environment
from infra.world import Template, World

PLANS = [capacity.plan(e, capacity.read_measured()) for e in (PROD, STAGING)]
FORMULAS = [plan.explain() for plan in PLANS]
# path -> values that only production has, values that only staging has
DIFFERENCES: dict[str, tuple[set[str], set[str]]] = {
    # a tenth of production's load
    "service.Outputs.PeakRps.Value": ({"300"}, {"30"}),
    "WAFv2::WebACL.Rules.Statement.RateBasedStatement.Limit": ({"36000"}, {"3600"}),
    "ApplicationAutoScaling::ScalableTarget.MaxCapacity": ({"8"}, {"6"}),
    "ApplicationAutoScaling::ScalableTarget.ScheduledActions.ScalableTargetAction.MaxCapacity": (
        {"8"},
        {"6"},
    ),
    "CloudWatch::Alarm.Threshold": ({"7.5", "36000"}, {"5.5", "3600"}),
    "autoscaling.Outputs.MaxTasks.Value": ({"8"}, {"6"}),
    "autoscaling.Outputs.Formula.Value": ({FORMULAS[0]}, {FORMULAS[1]}),
    "autoscaling.Description": (
        {f"Digitline ENV: {FORMULAS[0]}"},
        {f"Digitline ENV: {FORMULAS[1]}"},
    ),
    "Budgets::Budget.Budget.BudgetLimit.Amount": ({"300"}, {"250"}),
    "CloudWatch::Dashboard.DashboardBody.widgets.properties.annotations.horizontal.value": (
        {"8", "300"},
        {"6", "250"},
    ),
    # deleting the environment deletes its data
    "DeletionPolicy": ({"RetainExceptOnCreate", "Snapshot"}, {"Delete"}),
    "UpdateReplacePolicy": ({"Retain", "Snapshot"}, {"Delete"}),
    "ECR::Repository.EmptyOnDelete": ({"False"}, {"True"}),
    "RDS::DBInstance.DeletionProtection": ({"True"}, {"False"}),
    "ElasticLoadBalancingV2::LoadBalancer.LoadBalancerAttributes.Value": ({"true"}, {"false"}),
    "Metadata.checkov.skip.id": (set(), {"CKV_AWS_150", "CKV_AWS_293"}),
    "Metadata.checkov.skip.comment": (
        set(),
        {"deleted with its environment, or by a failed creation"},
    ),
}


def test_staging_differs_from_production_in_these_values_only(
    synthesised: dict[str, dict[str, Template]],
) -> None:
    prod, staging = (Counter(facts(e, synthesised[e.name])) for e in (PROD, STAGING))
    found: dict[str, tuple[set[str], set[str]]] = {}
    for side, only in enumerate((prod - staging, staging - prod)):
        for _, path, value in only:
            found.setdefault(path, (set(), set()))[side].add(value)
    assert found == DIFFERENCES


def test_one_office_is_served_as_production_is_but_for_sizes_and_network(
    synthesised: dict[str, dict[str, Template]],
) -> None:
    prod, lean = (
        Counter(facts(e, {s: synthesised[e.name][s] for s in ("foundation", "service")}))
        for e in (PROD, LEAN)
    )
    network = ("EC2::", "foundation.", "service.Outputs.")
    differing = {path for _, path, _ in (prod - lean) + (lean - prod)}
    assert {path for path in differing if not path.startswith(network)} == {
        # a third of production's peak, on half of its task
        "CloudWatch::Alarm.Threshold",
        "WAFv2::WebACL.Rules.Statement.RateBasedStatement.Limit",
        "ECS::TaskDefinition.Cpu",
        "ECS::TaskDefinition.Memory",
        "ECS::TaskDefinition.ContainerDefinitions.Memory",
        # two zones instead of three; addresses instead of endpoints
        "ElasticLoadBalancingV2::LoadBalancer.Subnets",
        "ECS::Service.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp",
        "ECS::Service.NetworkConfiguration.AwsvpcConfiguration.Subnets",
        # no Container Insights
        "ECS::Cluster.ClusterSettings.Value",
        "Metadata.checkov.skip.id",
        "Metadata.checkov.skip.comment",
    }


def facts(environment: Environment, stacks: dict[str, Template]) -> Iterator[tuple[str, str, str]]:
    """Each value of each resource as (logical id, path, value), without the environment's name."""
    resolved = World(stacks).resources
    for stack, template in stacks.items():
        for name, body in template["Resources"].items():
            kind = body["Type"].removeprefix("AWS::")
            for path, value in leaves(resolved[f"{{{stack}.{name}}}"].properties, kind):
                yield plain(environment, name), path, plain(environment, value)
            for key in ("DeletionPolicy", "UpdateReplacePolicy", "Metadata"):
                for path, value in leaves(body.get(key, {}), key):
                    yield plain(environment, name), path, plain(environment, value)
        rest = {k: v for k, v in template.items() if k != "Resources"}
        for path, value in leaves(json.loads(plain(environment, json.dumps(rest))), stack):
            yield "", path, value


def leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    """The scalars inside a value, with their paths. JSON in a string is parsed too."""
    if isinstance(value, str) and value.startswith("{") and value.endswith("}") and '"' in value:
        value = json.loads(value)
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, str(value)


def plain(environment: Environment, text: str) -> str:
    """Without the environment's name and network and the hashes in the names that CDK makes."""
    text = re.sub(rf"{environment.name}(?!uct)", "ENV", text)
    text = text.replace(environment.cidr.removesuffix("0.0/16"), "NET.")
    return re.sub(r"[0-9A-F]{8}([0-9A-Fa-f]{8,})?", "#", text)
