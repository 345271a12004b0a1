"""Network paths."""

from __future__ import annotations

from collections.abc import Iterator

from infra import lookups
from infra.invariants.rule import must_hold
from infra.world import World


@must_hold("https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Internet_Gateway.html")
def tasks_have_no_way_to_the_internet(world: World) -> Iterator[str]:
    """Isolated subnets, no public address, no route out; without endpoints neither can be.

    Then nobody can reach the tasks all the same: ``tasks_accept_only_our_own_groups``.
    """
    if not has_endpoints(world):
        return
    open_tables = {
        r.get("RouteTableId") for r in world.all("EC2::Route") if r.get("DestinationCidrBlock")
    }
    exposed = {
        a.get("SubnetId")
        for a in world.all("EC2::SubnetRouteTableAssociation")
        if a.get("RouteTableId") in open_tables
    }
    for owner, network in lookups.task_networks(world):
        if network.get("AssignPublicIp") != "DISABLED":
            yield f"{owner}: public address"
        for subnet in set(network.get("Subnets", [])) & exposed:
            yield f"{owner}: subnet {subnet} has a route to the internet"
    if world.all("EC2::NatGateway"):
        yield "a NAT gateway gives tasks a route to the internet"


@must_hold("https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html")
def isolated_tasks_have_the_endpoints_they_call(world: World) -> Iterator[str]:
    """Without an endpoint a task hangs in PENDING, or its call times out."""
    if not has_endpoints(world):
        for owner, network in lookups.task_networks(world):
            if network.get("AssignPublicIp") != "ENABLED":
                yield f"{owner}: no endpoints and no public address"
        return
    present = {e.get("ServiceName").split(".", 3)[-1] for e in world.all("EC2::VPCEndpoint")}
    needed = {"ecr.api", "ecr.dkr", "s3", "logs"}
    for _, container in lookups.all_containers(world):
        if container.get("Secrets"):
            needed.add("secretsmanager")
        if "sns:" in lookups.variables(container).get("DIGITS_ALERTS", ""):
            needed.add("sns")
    if any(s.get("EnableExecuteCommand") for s in world.all("ECS::Service")):
        needed.add("ssmmessages")
    for missing in sorted(needed - present):
        yield f"no endpoint for {missing}"


def has_endpoints(world: World) -> bool:
    """Whether tasks reach AWS's services inside the VPC."""
    return any(e.get("VpcEndpointType") == "Interface" for e in world.all("EC2::VPCEndpoint"))


@must_hold("https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html")
def tasks_accept_only_our_own_groups(world: World) -> Iterator[str]:
    """No address range may call a task, whether it has a public address or not."""
    groups = {g for _, network in lookups.task_networks(world) for g in network["SecurityGroups"]}
    for group in world.all("EC2::SecurityGroup"):
        if f"{group.ref[:-1]}.GroupId}}" in groups and group.get("SecurityGroupIngress"):
            yield f"{group}: accepts {group.get('SecurityGroupIngress')}"
    for rule in world.all("EC2::SecurityGroupIngress"):
        if rule.get("GroupId") in groups and not rule.get("SourceSecurityGroupId"):
            yield f"{rule}: accepts an address range"


@must_hold("https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html")
def only_the_load_balancer_is_open_to_the_world(world: World) -> Iterator[str]:
    """And on port 443 only; checkov looks at the ports 22, 80 and 3389."""
    fronts = {g for alb in lookups.albs(world) for g in alb.get("SecurityGroups", [])}
    for group in world.all("EC2::SecurityGroup"):
        for rule in group.get("SecurityGroupIngress", []):
            if rule.get("CidrIp") != "0.0.0.0/0" and rule.get("CidrIpv6") != "::/0":
                continue
            if f"{group.ref[:-1]}.GroupId}}" not in fronts or rule.get("FromPort") != 443:
                yield f"{group}: open to the world on {rule.get('FromPort')}"
