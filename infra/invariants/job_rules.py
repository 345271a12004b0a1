"""Scheduled jobs, MLflow and promotion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from infra import aws, lookups
from infra.invariants.rule import must_hold
from infra.world import Resource, World, dig


@must_hold("https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html")
def scheduled_jobs_run_and_lost_starts_raise_an_alarm(world: World) -> Iterator[str]:
    """Enabled, with a time zone, retried, with a dead-letter queue that an alarm watches."""
    watched = [json.dumps(a.properties) for a in world.all("CloudWatch::Alarm")]
    for schedule in world.all("Scheduler::Schedule"):
        target = schedule.get("Target", {})
        if schedule.get("State", "ENABLED") != "ENABLED":
            yield f"{schedule}: disabled"
        if not schedule.get("ScheduleExpressionTimezone"):
            yield f"{schedule}: no time zone"
        if "aws-sdk" in str(target.get("Arn")):  # the hours of MLflow: the next rule
            continue
        machine = world.at(target.get("Arn"))
        if machine is None or machine.type != "AWS::StepFunctions::StateMachine":
            yield f"{schedule}: starts no state machine"
        if not dig(target, "RetryPolicy.MaximumRetryAttempts"):
            yield f"{schedule}: not retried"
        queue = world.at(dig(target, "DeadLetterConfig.Arn"))
        if queue is None or not any(queue.ref[:-1] in alarm for alarm in watched):
            yield f"{schedule}: no alarm on the dead letters of a lost start"
        if not lookups.permits(
            lookups.statements(world, target.get("RoleArn")),
            "states:StartExecution",
            str(target.get("Arn")),
        ):
            yield f"{schedule}: its role may not start it"


@must_hold("https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html")
def the_promised_jobs_are_scheduled(world: World) -> Iterator[str]:
    """The retraining only where MLflow is."""
    has_comforts = bool(world.all("RDS::DBInstance"))
    described = " ".join(s.get("Description", "") for s in world.all("Scheduler::Schedule"))
    for command in aws.PROMISED_JOBS:
        if command not in described and (has_comforts or command not in aws.COMFORT_JOBS):
            yield f"no schedule runs {command!r}"


@must_hold("https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html")
def mlflow_runs_when_the_retraining_needs_it(world: World) -> Iterator[str]:
    """Database and server start before it and stop each evening; each role may do so."""
    calls = [s for s in world.all("Scheduler::Schedule") if "aws-sdk" in s.get("Target.Arn", "")]
    for database in world.all("RDS::DBInstance"):
        for operation, started in (
            ("rds:startDBInstance", "first"),
            ("ecs:updateService", "first"),
            ("ecs:updateService", "daily"),
            ("rds:stopDBInstance", "daily"),
        ):
            found = [
                call
                for call in calls
                if call.get("Target.Arn").endswith(operation)
                and (" * * ? *)" in call.get("ScheduleExpression")) == (started == "daily")
            ]
            if not found:
                yield f"{database}: no {started} schedule calls {operation}"
    for call in calls:
        service, operation = call.get("Target.Arn").split(":")[-2:]
        action = f"{service}:{operation[0].upper()}{operation[1:]}"
        statements = lookups.statements(world, call.get("Target.RoleArn"))
        if not any(action in lookups.listed(s.get("Action")) for s in statements):
            yield f"{call}: its role may not {action}"


@must_hold(
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html"
)
def jobs_publish_how_they_ended(world: World) -> Iterator[str]:
    """State machines publish success and failure; each task is retried or its error caught."""
    for machine in world.all("StepFunctions::StateMachine"):
        states = json.loads(machine.get("DefinitionString"))["States"]
        published = [s for s in states.values() if s.get("Resource", "").endswith("sns:publish")]
        if not any(world.at(s["Parameters"]["TopicArn"]) for s in published):
            yield f"{machine}: publishes nothing"
        for name, state in states.items():
            if state["Type"] != "Task" or state in published:
                continue
            caught = [c for c in state.get("Catch", []) if "States.ALL" in c["ErrorEquals"]]
            handler = states[caught[0]["Next"]] if caught else {}
            # the handler publishes, or cleans up first; its own failure is checked in its turn
            if handler not in published and states.get(handler.get("Next")) not in published:
                yield f"{machine}: a failure of {name} is not published"
            if "ecs:runTask" in state["Resource"]:
                yield from _run_task_problems(world, machine, state)


def _run_task_problems(world: World, machine: Resource, state: dict[str, Any]) -> Iterator[str]:
    if not state["Resource"].endswith(".sync"):
        yield f"{machine}: does not wait for its task"
    if not state.get("Retry") or not state.get("TimeoutSeconds"):
        yield f"{machine}: no retry or no timeout"
    task = world.at(state["Parameters"]["TaskDefinition"])
    if task is None or task.type != "AWS::ECS::TaskDefinition":
        yield f"{machine}: runs no task definition"
        return
    statements = lookups.statements(world, machine.get("RoleArn"))
    needs = [("ecs:RunTask", task.ref)]
    needs += [("iam:PassRole", task.get(r)) for r in ("TaskRoleArn", "ExecutionRoleArn")]
    for action, resource in needs:
        if not lookups.permits(statements, action, resource):
            yield f"{machine}: may not {action} on {resource}"
    has_tags = {"PropagateTags", "Tags"} & set(state["Parameters"])
    if has_tags and not any(map(_may_tag_on_create, statements)):
        yield f"{machine}: starts a task with tags and may not ecs:TagResource"


def _may_tag_on_create(statement: dict[str, Any]) -> bool:
    condition = dig(statement, "Condition.StringEquals", {})
    return (
        statement["Effect"] == "Allow"
        and "ecs:TagResource" in lookups.listed(statement.get("Action"))
        and "RunTask" in lookups.listed(condition.get("ecs:CreateAction"))
    )


@must_hold("https://mlflow.org/docs/latest/self-hosting/security/network")
def mlflow_is_private_and_requires_sign_in(world: World) -> Iterator[str]:
    """Administrator, allowed hosts, no load balancer, and the address that the jobs use."""
    for service in world.all("ECS::Service"):
        container = lookups.containers(world, service).get("mlflow")
        if container is None:
            continue
        secrets = {s["Name"] for s in container.get("Secrets", [])}
        if not {"MLFLOW_ADMIN_USER", "MLFLOW_ADMIN_PASSWORD"} <= secrets:
            yield f"{service}: no administrator account"
        hosts = lookups.variables(container).get("MLFLOW_ALLOWED_HOSTS", "*")
        if "*" in hosts:
            yield f"{service}: allowed hosts {hosts!r}"
        if service.get("LoadBalancers"):
            yield f"{service}: is behind a load balancer"
        for task, job in lookups.all_containers(world):
            uri = lookups.variables(job).get("MLFLOW_TRACKING_URI")
            if uri and uri.removeprefix("http://") not in hosts.split(","):
                yield f"{task}: MLflow does not allow the host of {uri}, only {hosts}"


@must_hold(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-supplied-parameter-types.html"
)
def promotion_goes_through_the_canary(world: World) -> Iterator[str]:
    """A pushed champion changes the image tags of service and jobs, and nothing else."""
    rules = [
        r
        for r in world.all("Events::Rule")
        if {"prefix": "champion-"} in dig(r.get("EventPattern", {}), "detail.image-tag", [])
    ]
    if not rules:
        yield "no rule reacts to a pushed champion"
    for rule in rules:
        machine = world.at(rule.get("Targets")[0]["Arn"])
        text = machine.get("DefinitionString", "") if machine else ""
        for _, container in lookups.all_containers(world):
            if container["Name"] == "mlflow":
                continue
            parameter = re.search(r"\{ssm:([^}]+)\}$", container["Image"])
            if parameter is None or f'"Name":"{parameter[1]}"' not in text:
                yield f"{rule}: does not set the tag of {container['Name']}"
        if text.count('"UsePreviousTemplate":true') != text.count(":updateStack"):
            yield f"{rule}: changes more than the tags"
        allowed = lookups.statements(world, machine.get("RoleArn") if machine else None)
        for stack, template in world.templates.items():
            tags = [p.get("Default", "") for p in template.get("Parameters", {}).values()]
            named = any(re.search("(service|jobs)-image-tag", tag) for tag in tags)
            if named and not re.search(rf'"StackName":"[^"]*-{stack}"', text):
                yield f"{rule}: does not update the stack {stack}"
            if named:
                yield from _unreadable_parameters(rule, template, allowed)


def _unreadable_parameters(
    rule: Resource, template: dict[str, Any], statements: list[dict[str, Any]]
) -> Iterator[str]:
    """CloudFormation reads a template's SSM parameters with the caller's permissions."""
    readable = [
        resource.partition(":parameter")[2].replace("*", ".*")
        for statement in statements
        if "ssm:GetParameters" in lookups.listed(statement.get("Action"))
        for resource in lookups.listed(statement.get("Resource"))
    ]
    for parameter in template.get("Parameters", {}).values():
        if "AWS::SSM" in parameter["Type"] and not any(
            re.fullmatch(pattern, parameter["Default"]) for pattern in readable
        ):
            yield f"{rule}: may not read {parameter['Default']}"
