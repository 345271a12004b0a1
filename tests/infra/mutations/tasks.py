"""What a task is and may touch."""

from __future__ import annotations

import json

from mutations.seed import (
    Templates,
    replaces,
    seeds,
    set_variable,
)


@seeds("containers_can_do_as_little_as_possible")
def runs_as_root(t: Templates) -> None:
    del t.container("server")["User"]


@seeds("containers_can_do_as_little_as_possible")
def writable_image(t: Templates) -> None:
    t.container("drift")["ReadonlyRootFilesystem"] = False


@seeds("containers_can_do_as_little_as_possible")
def password_in_the_open(t: Templates) -> None:
    variable = {"Name": "DATABASE_PASSWORD", "Value": "hunter2"}
    t.container("mlflow")["Environment"].append(variable)


@seeds("people_can_get_into_what_says_so")
def exec_agent_with_nowhere_to_write(t: Templates) -> None:
    del t.container("mlflow")["MountPoints"][-1]


@seeds("people_can_get_into_what_says_so")
def exec_agent_without_permission(t: Templates) -> None:
    statements = t.policy_of("MlflowTaskTaskRole")
    statements[:] = [s for s in statements if "ssmmessages" not in json.dumps(s["Action"])]


@seeds("people_can_get_into_what_says_so")
def exec_agent_without_a_way_out(t: Templates) -> None:
    t.delete("EC2::VPCEndpoint", "VpcExec")


@seeds("tasks_have_a_size_that_fargate_sells")
def one_vcpu_with_one_gigabyte(t: Templates) -> None:
    t.one("ECS::TaskDefinition", "Task")["Memory"] = "1024"


@seeds("tasks_have_a_size_that_fargate_sells")
def shipper_larger_than_its_task(t: Templates) -> None:
    t.container("shipper")["Memory"] = 4096


@seeds("tasks_have_a_size_that_fargate_sells")
def x86_task(t: Templates) -> None:
    t.one("ECS::TaskDefinition", "Task")["RuntimePlatform"]["CpuArchitecture"] = "X86_64"


@seeds("execution_roles_can_start_their_tasks")
def secret_nobody_may_read(t: Templates) -> None:
    statements = t.policy_of("MlflowTaskExecutionRole")
    statements[:] = [s for s in statements if "secretsmanager" not in json.dumps(s["Action"])]


replaces(
    "tasks_may_reach_the_objects_they_are_told_about",
    {
        "capture_prefix_renamed_on_one_side": (
            "ECS::TaskDefinition",
            "DriftTask",
            "/captures",
            "/captured",
        ),
        "retraining_reads_labels_it_may_not": (
            "ECS::TaskDefinition",
            "RetrainTask",
            "/captures",
            "/labels",
        ),
    },
)


@seeds("tasks_may_reach_the_objects_they_are_told_about")
def shipper_may_not_write(t: Templates) -> None:
    t.delete("IAM::Policy", "TaskTaskRole")


@seeds("the_shipper_empties_the_spool_that_the_server_fills")
def shipper_reads_another_folder(t: Templates) -> None:
    set_variable(t.container("shipper"), "DIGITS_CAPTURE_DIR", "/var/lib/digitline/other")


@seeds("the_shipper_empties_the_spool_that_the_server_fills")
def spool_on_two_volumes(t: Templates) -> None:
    t.container("shipper")["MountPoints"][0]["SourceVolume"] = "another"


@seeds("the_shipper_empties_the_spool_that_the_server_fills")
def shipper_stopped_first(t: Templates) -> None:
    del t.container("server")["DependsOn"]
