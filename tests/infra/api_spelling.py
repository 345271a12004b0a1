"""CloudFormation's properties of a resource as the arguments of the operations that create it.

One function for each type whose spelling differs. It takes the properties that it respells, yields
one pair (operation, arguments) for each call, and passes the remaining properties to the last call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

JSON = Any
Made = Iterator[tuple[str, dict[str, JSON]]]
SCALABLE = ("ServiceNamespace", "ResourceId", "ScalableDimension")
GENERATED = "digitline-generated-name"  # CloudFormation generates the names that the template omits


def named(operation: str, name: str, **renamed: str) -> Callable[[dict[str, JSON]], Made]:
    """One operation; CloudFormation generates the name or spells some properties differently."""

    def make(p: dict[str, JSON]) -> Made:
        for theirs, ours in renamed.items():
            if theirs in p:
                p[ours] = p.pop(theirs)
        yield operation, {name: GENERATED, **p}

    return make


def bucket(p: dict[str, JSON]) -> Made:
    bucket = {"Bucket": p.pop("BucketName", GENERATED)}
    encryption = p.pop("BucketEncryption")["ServerSideEncryptionConfiguration"]
    for rule in encryption:
        rule["ApplyServerSideEncryptionByDefault"] = rule.pop("ServerSideEncryptionByDefault")
    lifecycle = p.pop("LifecycleConfiguration")["Rules"]
    yield "PutBucketTagging", {**bucket, "Tagging": {"TagSet": p.pop("Tags")}}
    yield (
        "PutBucketEncryption",
        {**bucket, "ServerSideEncryptionConfiguration": {"Rules": encryption}},
    )
    yield (
        "PutBucketLifecycleConfiguration",
        {**bucket, "LifecycleConfiguration": {"Rules": [_expiry(rule) for rule in lifecycle]}},
    )
    for operation, ours in (
        ("PutPublicAccessBlock", "PublicAccessBlockConfiguration"),
        ("PutBucketVersioning", "VersioningConfiguration"),
        ("PutBucketOwnershipControls", "OwnershipControls"),
    ):
        yield operation, {**bucket, ours: p.pop(ours)}
    if "LoggingConfiguration" in p:
        log = p.pop("LoggingConfiguration")
        enabled = {"TargetBucket": log.pop("DestinationBucketName")}
        enabled["TargetPrefix"] = log.pop("LogFilePrefix")
        yield "PutBucketLogging", {**bucket, "BucketLoggingStatus": {"LoggingEnabled": enabled}}
    yield "CreateBucket", {**bucket, **p}


def _expiry(rule: dict[str, JSON]) -> dict[str, JSON]:
    """A lifecycle rule from CloudFormation's flat spelling."""
    if "ExpirationInDays" in rule:
        rule["Expiration"] = {"Days": rule.pop("ExpirationInDays")}
    return {"Filter": {"Prefix": rule.pop("Prefix", "")}, **rule}


def load_balancer(p: dict[str, JSON]) -> Made:
    attributes = p.pop("LoadBalancerAttributes")
    yield "ModifyLoadBalancerAttributes", {"LoadBalancerArn": GENERATED, "Attributes": attributes}
    yield "CreateLoadBalancer", {"Name": GENERATED, **p}


def target_group(p: dict[str, JSON]) -> Made:
    attributes = p.pop("TargetGroupAttributes")
    yield "ModifyTargetGroupAttributes", {"TargetGroupArn": GENERATED, "Attributes": attributes}
    yield "CreateTargetGroup", {"Name": GENERATED, **p}


def scalable_target(p: dict[str, JSON]) -> Made:
    key = {name: p[name] for name in SCALABLE}
    for action in p.pop("ScheduledActions"):
        yield "PutScheduledAction", {**key, **action}
    yield "RegisterScalableTarget", p


def state_machine(p: dict[str, JSON]) -> Made:
    """The state machine, and the calls of its states."""
    for state in json.loads(p["DefinitionString"])["States"].values():
        if state["Type"] == "Task":
            service, operation = _integration(state["Resource"])
            yield f"{service}:{operation}", _at_run_time(state["Parameters"])
    names = {"StateMachineName": "Name", "DefinitionString": "Definition"}
    yield "CreateStateMachine", {names.get(key, key): value for key, value in p.items()}


def _integration(resource: str) -> tuple[str, str]:
    """``arn:aws:states:::aws-sdk:ssm:putParameter`` is ssm's PutParameter."""
    parts = resource.split(":::")[1].removeprefix("aws-sdk:").split(":")
    operation = parts[1].split(".")[0]
    return parts[0], operation[0].upper() + operation[1:]


def _at_run_time(value: JSON) -> JSON:
    """Parameters whose names end in ``.$`` get their values when the machine runs."""
    if isinstance(value, list):
        return [_at_run_time(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key.removesuffix(".$"): f"{{run:{item}}}" if key.endswith(".$") else _at_run_time(item)
        for key, item in value.items()
    }


def repository(p: dict[str, JSON]) -> Made:
    del p["EmptyOnDelete"]  # CloudFormation reads it at deletion
    policy = {"RepositoryName": p["RepositoryName"], **p.pop("LifecyclePolicy")}
    yield "PutLifecyclePolicy", policy
    yield "CreateRepository", p


def event_rule(p: dict[str, JSON]) -> Made:
    yield "PutTargets", {"Rule": GENERATED, "Targets": p.pop("Targets")}
    yield "PutRule", {"Name": GENERATED, **p}


def parameter_group(p: dict[str, JSON]) -> Made:
    group = {"DBParameterGroupName": GENERATED}
    settings = [
        {"ParameterName": name, "ParameterValue": value, "ApplyMethod": "pending-reboot"}
        for name, value in p.pop("Parameters").items()
    ]
    yield "ModifyDBParameterGroup", {**group, "Parameters": settings}
    yield "CreateDBParameterGroup", {**group, "DBParameterGroupFamily": p.pop("Family"), **p}


def queue(p: dict[str, JSON]) -> Made:
    tags = p.pop("Tags")
    attributes = {key: str(value) for key, value in p.items()}
    yield "CreateQueue", {"QueueName": GENERATED, "Attributes": attributes, "Tags": tags}


def queue_policy(p: dict[str, JSON]) -> Made:
    policy = json.dumps(p.pop("PolicyDocument"))
    for queue in p.pop("Queues"):
        yield "SetQueueAttributes", {"QueueUrl": queue, "Attributes": {"Policy": policy}, **p}


def topic(p: dict[str, JSON]) -> Made:
    name, tags = p.pop("TopicName"), p.pop("Tags")
    yield "CreateTopic", {"Name": name, "Attributes": p, "Tags": tags}


def topic_policy(p: dict[str, JSON]) -> Made:
    policy = json.dumps(p.pop("PolicyDocument"))
    for topic in p.pop("Topics"):
        arguments = {"AttributeName": "Policy", "AttributeValue": policy}
        yield "SetTopicAttributes", {"TopicArn": topic, **arguments, **p}


def secret(p: dict[str, JSON]) -> Made:
    generate = p.pop("GenerateSecretString")
    generate.pop("SecretStringTemplate", None)  # CloudFormation inserts the password there
    generate.pop("GenerateStringKey", None)
    yield "GetRandomPassword", generate
    yield "CreateSecret", {"Name": GENERATED, **p}


def budget(p: dict[str, JSON]) -> Made:
    limit = p["Budget"]["BudgetLimit"]
    limit["Amount"] = str(limit["Amount"])
    yield "CreateBudget", {"AccountId": "123456789012", **p}


def key(p: dict[str, JSON]) -> Made:
    if p.pop("EnableKeyRotation"):
        yield "EnableKeyRotation", {"KeyId": GENERATED}
    p["Policy"] = p.pop("KeyPolicy")
    yield "CreateKey", p


def log_group(p: dict[str, JSON]) -> Made:
    yield "PutRetentionPolicy", {"LogGroupName": GENERATED, **_only(p, "RetentionInDays")}
    yield "CreateLogGroup", {"LogGroupName": GENERATED, **p}


def role(p: dict[str, JSON]) -> Made:
    for policy in p.pop("ManagedPolicyArns", []):
        yield "AttachRolePolicy", {"RoleName": GENERATED, "PolicyArn": policy}
    yield "CreateRole", {"RoleName": GENERATED, **p}


def role_policy(p: dict[str, JSON]) -> Made:
    for role in p.pop("Roles"):
        yield "PutRolePolicy", {"RoleName": role, **p}


def security_group(p: dict[str, JSON]) -> Made:
    for way in ("Ingress", "Egress"):
        for rule in p.pop(f"SecurityGroup{way}", []):
            yield f"AuthorizeSecurityGroup{way}", _permission(GENERATED, rule)
    described = {"GroupName": GENERATED, "Description": p.pop("GroupDescription")}
    yield "CreateSecurityGroup", {**described, **p}


def group_rule(way: str, peer: str) -> Callable[[dict[str, JSON]], Made]:
    def make(p: dict[str, JSON]) -> Made:
        p["GroupIdOfPeer"] = p.pop(peer)
        yield f"AuthorizeSecurityGroup{way}", _permission(p.pop("GroupId"), p)

    return make


def _permission(group: str, rule: dict[str, JSON]) -> dict[str, JSON]:
    described = _only(rule, "Description")
    permission = _only(rule, "IpProtocol", "FromPort", "ToPort")
    if "CidrIp" in rule:
        permission["IpRanges"] = [{**_only(rule, "CidrIp"), **described}]
    else:
        permission["UserIdGroupPairs"] = [{"GroupId": rule.pop("GroupIdOfPeer"), **described}]
    return {"GroupId": group, "IpPermissions": [permission], **rule}


def vpc(p: dict[str, JSON]) -> Made:
    for name in ("EnableDnsHostnames", "EnableDnsSupport"):
        yield "ModifyVpcAttribute", {"VpcId": GENERATED, name: {"Value": p.pop(name)}}
    yield "CreateVpc", p


def subnet(p: dict[str, JSON]) -> Made:
    public = {"MapPublicIpOnLaunch": {"Value": p.pop("MapPublicIpOnLaunch")}}
    yield "ModifySubnetAttribute", {"SubnetId": GENERATED, **public}
    yield "CreateSubnet", p


def flow_log(p: dict[str, JSON]) -> Made:
    yield "CreateFlowLogs", {"ResourceIds": [p.pop("ResourceId")], **p}


def _only(p: dict[str, JSON], *names: str) -> dict[str, JSON]:
    """Take some properties out."""
    return {name: p.pop(name) for name in names if name in p}
