"""Network paths."""

from __future__ import annotations

from mutations.seed import (
    ALB,
    SERVICE,
    Templates,
    deletes,
    seeds,
)


@seeds("tasks_have_no_way_to_the_internet")
def tasks_with_public_addresses(t: Templates) -> None:
    network = t.one(SERVICE, "Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    network["AssignPublicIp"] = "ENABLED"


@seeds("tasks_have_no_way_to_the_internet")
def tasks_in_public_subnets(t: Templates) -> None:
    public = t.one(ALB)["Subnets"]
    network = t.one(SERVICE, "Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    network["Subnets"] = public


deletes(
    "isolated_tasks_have_the_endpoints_they_call",
    {
        "no_endpoint_for_secrets": ("EC2::VPCEndpoint", "VpcSecrets"),
        "no_endpoint_for_s3": ("EC2::VPCEndpoint", "VpcS3"),
    },
)


@seeds("tasks_accept_only_our_own_groups")
def tasks_that_accept_the_vpc(t: Templates) -> None:
    rule = {"CidrIp": "10.0.0.0/8", "IpProtocol": "tcp", "FromPort": 3000, "ToPort": 3000}
    t.one("EC2::SecurityGroup", "TasksGroup")["SecurityGroupIngress"] = [rule]


@seeds("only_the_load_balancer_is_open_to_the_world")
def tasks_open_to_the_world(t: Templates) -> None:
    rule = {"CidrIp": "0.0.0.0/0", "IpProtocol": "tcp", "FromPort": 3000, "ToPort": 3000}
    t.one("EC2::SecurityGroup", "TasksGroup")["SecurityGroupIngress"] = [rule]
