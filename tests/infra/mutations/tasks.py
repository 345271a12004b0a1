"""Tasks: size, rights, volumes."""

from __future__ import annotations

import json

from mutations.seed import (
    Templates,
    replaces,
    seeds,
    set_variable,
)


@seeds("containers_have_least_privilege")
def runs_as_root(t: Templates) -> None:
    del t.container("server")["User"]


@seeds("containers_have_least_privilege")
def writable_image(t: Templates) -> None:
    t.container("drift")["ReadonlyRootFilesystem"] = False


@seeds("containers_have_least_privilege")
def password_in_a_plain_variable(t: Templates) -> None:
    variable = {"Name": "DATABASE_PASSWORD", "Value": "hunter2"}
    t.container("mlflow")["Environment"].append(variable)


@seeds("ecs_exec_works_where_it_is_enabled")
def exec_agent_without_a_writable_folder(t: Templates) -> None:
    del t.container("mlflow")["MountPoints"][-1]


@seeds("ecs_exec_works_where_it_is_enabled")
def exec_agent_without_permission(t: Templates) -> None:
    statements = t.policy_of("MlflowTaskTaskRole")
    statements[:] = [s for s in statements if "ssmmessages" not in json.dumps(s["Action"])]


@seeds("ecs_exec_works_where_it_is_enabled")
def exec_agent_without_an_endpoint(t: Templates) -> None:
    t.delete("EC2::VPCEndpoint", "VpcExec")


@seeds("E3047")
def one_vcpu_with_one_gigabyte(t: Templates) -> None:
    t.one("ECS::TaskDefinition", "Task")["Memory"] = "1024"


@seeds("containers_fit_their_task")
def shipper_larger_than_its_task(t: Templates) -> None:
    t.container("shipper")["Memory"] = 4096


@seeds("containers_fit_their_task")
def x86_task(t: Templates) -> None:
    t.one("ECS::TaskDefinition", "Task")["RuntimePlatform"]["CpuArchitecture"] = "X86_64"


@seeds("execution_roles_can_start_their_tasks")
def secret_nobody_may_read(t: Templates) -> None:
    statements = t.policy_of("MlflowTaskExecutionRole")
    statements[:] = [s for s in statements if "secretsmanager" not in json.dumps(s["Action"])]


replaces(
    "task_roles_allow_the_buckets_in_their_variables",
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


@seeds("task_roles_allow_the_buckets_in_their_variables")
def shipper_may_not_write(t: Templates) -> None:
    t.delete("IAM::Policy", "TaskTaskRole")


@seeds("server_and_shipper_share_the_spool")
def shipper_reads_another_folder(t: Templates) -> None:
    set_variable(t.container("shipper"), "DIGITS_CAPTURE_DIR", "/var/lib/digitline/other")


@seeds("server_and_shipper_share_the_spool")
def spool_on_two_volumes(t: Templates) -> None:
    t.container("shipper")["MountPoints"][0]["SourceVolume"] = "another"


@seeds("server_and_shipper_share_the_spool")
def server_does_not_depend_on_the_shipper(t: Templates) -> None:
    del t.container("server")["DependsOn"]
