"""What CloudFormation calls to create a resource, and what AWS's own description says of the call.

botocore ships that description of every API: names, enums, ranges, lengths, patterns, what is
required. ``calls`` spells a resource's properties as the arguments of the operations that create
it, ``checks`` walks those arguments along the operation's input shape. A property that no operation
knows is an error, so nothing of a template goes unseen; a type that has no operation at all is in
``NO_CALL``. What a string holds in a language of its own (events' patterns, IAM policies, the
states language, the dashboard) is asked for its length and characters only; names that AWS keeps in
no model (engine versions, instance classes, TLS policies) are cfn-lint's part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session
import regex  # the models' patterns are not all Python's
from moto_types import as_input

from infra.world import Resource, World

JSON = Any
NO_CALL = {  # type -> why there is nothing to ask
    "AWS::SecretsManager::SecretTargetAttachment": "CloudFormation's own: joins host and password",
}
ABSENT = object()
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Call:
    """One operation with its arguments, spelt as the API spells them."""

    service: str
    operation: str
    arguments: dict[str, JSON]

    def __str__(self) -> str:
        return f"{self.service}:{self.operation}"


@dataclass(frozen=True)
class Check:
    """One constraint on one value."""

    kind: str  # enum, range, length, pattern, prose or required
    place: Place  # the way to the value from the call's arguments
    fault: str  # empty if the value is one that the API takes
    wrong: JSON  # a value that it does not take


# --- the shape's side ---------------------------------------------------------------------------
PROSE = {  # what the model says in words only: None for "one of the words", else low and high
    "elbv2:ModifyLoadBalancerAttributes.Attributes.Key": None,
    "elbv2:ModifyTargetGroupAttributes.Attributes.Key": None,
    "logs:PutRetentionPolicy.retentionInDays": None,
    "rds:CreateDBInstance.AllocatedStorage": (
        r"RDS for PostgreSQL .*? gp3\): Must be an integer from ([\d,]+) to ([\d,]+)"
    ),
    "rds:CreateDBInstance.BackupRetentionPeriod": r"a value from (\d+) to (\d+)",
    "rds:CreateDBInstance.EnableCloudwatchLogsExports": None,
    "rds:CreateDBInstance.Engine": None,
    "rds:CreateDBInstance.PerformanceInsightsRetentionPeriod": None,
    "rds:CreateDBInstance.StorageType": None,
    "sns:Subscribe.Protocol": None,
    "sqs:CreateQueue.Attributes.MessageRetentionPeriod": (
        r"retains a message. Valid values: An integer from ([\d,]+) .*? to ([\d,]+) seconds"
    ),
}


@cache
def shape(service: str, operation: str) -> Any:
    model = botocore.session.get_session().get_service_model(service)
    return model.operation_model(operation).input_shape


def checks(call: Call) -> Iterator[Check]:
    """Every constraint that the model puts on the call's arguments."""
    model = shape(call.service, call.operation)
    yield from _walk(call.arguments, model, ())
    for name, bounds in PROSE.items():
        operation, *way = name.split(".")
        if operation == str(call):
            for place, value, text in _said(call.arguments, model, way, ()):
                yield _prose(place, value, text, bounds)


def faults(call: Call) -> list[str]:
    """What the API would refuse."""
    return [f"{call} {check.place}: {check.fault}" for check in checks(call) if check.fault]


def _walk(value: JSON, model: Any, place: Place) -> Iterator[Check]:
    if model.type_name == "structure":
        yield from _structure(value, model, place)
    elif model.type_name == "list":
        yield from _within("length", value, model, place)
        for index, item in enumerate(value):
            yield from _walk(item, model.member, (*place, index))
    elif model.type_name == "map":
        for key, item in value.items():
            for check in _string(key, model.key, place):
                yield Check(f"{check.kind} of key", (*place, key), check.fault, check.wrong)
            yield from _walk(item, model.value, (*place, key))
    elif model.type_name == "string":
        yield from _string(value, model, place)
    elif model.type_name in ("integer", "long", "float", "double"):
        yield from _within("range", value, model, place)


def _structure(value: JSON, model: Any, place: Place) -> Iterator[Check]:
    for name in model.required_members:
        fault = "" if name in value else "is required"
        yield Check("required", (*place, name), fault, ABSENT)
    for key, item in value.items():
        yield from _walk(item, model.members[key], (*place, key))


LONGEST = 1_000_000  # characters of a template: a limit above it cannot be passed
PSEUDO_PARAMETERS = {
    "${AWS::AccountId}": "123456789012",
    "${AWS::Partition}": "aws",
    "${AWS::Region}": "eu-central-1",
    "${AWS::URLSuffix}": "amazonaws.com",
}
REFERENCE = regex.compile(r"\{[a-z]+\.\w+[\w.]*\}|\{ssm:|\{run:|Fn::|\{\{resolve:")
SURROGATES = (r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")  # the same in UTF-16


def _string(value: str, model: Any, place: Place) -> Iterator[Check]:
    for name, known in PSEUDO_PARAMETERS.items():
        value = value.replace(name, known)
    if REFERENCE.search(value):
        return  # only AWS knows it
    if model.enum:
        fault = "" if value in model.enum else f"{value!r} is not one of {model.enum}"
        yield Check("enum", place, fault, "NO_SUCH_VALUE")
    yield from _within("length", value, model, place)
    pattern = regex.compile(model.metadata.get("pattern", r"[\s\S]*").replace(*SURROGATES))
    wrong = next((text for text in ("\0\n", "no such value") if not pattern.fullmatch(text)), None)
    if wrong is not None:
        fault = "" if pattern.fullmatch(value) else f"{value!r} is not like {pattern.pattern}"
        yield Check("pattern", place, fault, wrong)


def _within(kind: str, value: JSON, model: Any, place: Place) -> Iterator[Check]:
    low, high = model.metadata.get("min"), model.metadata.get("max")
    number = len(value) if kind == "length" else value
    if high is not None and (kind == "range" or high < LONGEST):
        fault = "" if number <= high else f"{kind} {number}, at most {high} is allowed"
        yield Check(kind, place, fault, _sized(value, high + 1))
    if low is not None and (kind == "range" or low > 0):
        fault = "" if number >= low else f"{kind} {number}, at least {low} is needed"
        yield Check(kind, place, fault, _sized(value, low - 1))


def _sized(value: JSON, size: float) -> JSON:
    """Like the value, but as large or as long as that."""
    if isinstance(value, str):
        return "x" * int(size)
    if isinstance(value, list):
        return (value * int(size + 1))[: int(size)]
    return size


Said = Iterator[tuple[Place, JSON, str]]


def _said(value: JSON, model: Any, way: list[str], place: Place) -> Said:
    """The values at the end of the way through the shape, and what is written about them."""
    if model.type_name == "list":
        for index, item in enumerate(value):
            for found in _said(item, model.member, way, (*place, index)):
                yield (*found[:2], found[2] or model.documentation)
    elif not way:
        yield place, value, model.documentation
    elif way[0] in value:
        inner = model.value if model.type_name == "map" else model.members[way[0]]
        for found in _said(value[way[0]], inner, way[1:], (*place, way[0])):
            yield (*found[:2], found[2] or model.documentation)


def _prose(place: Place, value: JSON, markup: str, bounds: str | None) -> Check:
    text = " ".join(regex.sub(r"<[^>]+>", " ", markup).split())
    if bounds is None:
        words = regex.findall(r"[\w.-]+(?<![.])", text)
        fault = "" if str(value) in words else f"{value!r} is not named in: {text}"
        return Check("prose", place, fault, "no-such-word" if isinstance(value, str) else 10**9 + 7)
    low, high = (int(x.replace(",", "")) for x in regex.search(bounds, text).groups())
    fault = "" if low <= int(value) <= high else f"{value}, {low} to {high} are allowed"
    return Check("prose", place, fault, type(value)(high + 1))


# --- CloudFormation's side ----------------------------------------------------------------------
def calls(resource: Resource, world: World) -> list[Call]:
    """The operations that create a resource.

    Raises:
        UnknownPropertyError: no operation takes one of its properties.
        KeyError: nobody has said yet what creates this type.
    """
    service, create = CREATES[resource.type.removeprefix("AWS::")]
    properties = json.loads(json.dumps(resource.properties))
    target = world.at(properties.pop("ScalingTargetId", None))
    if target is not None:  # the API has no such reference: a policy names what it scales
        properties |= {name: target.get(name) for name in SCALABLE}
    if isinstance(create, str):
        return [_call(service, create, properties)]
    return [_call(service, *made) for made in create(properties)]


def _call(service: str, operation: str, properties: dict[str, JSON]) -> Call:
    service, operation = operation.split(":") if ":" in operation else (service, operation)
    model = shape(service, operation)
    tags = properties.pop("Tags", None)
    if tags is not None:
        properties |= _tags(tags, model)
    return Call(service, operation, as_input(properties, model))


def _tags(tags: list[dict[str, str]], model: Any) -> dict[str, JSON]:
    """CloudFormation's one spelling of tags as the one of five that the operation has."""
    name = next((n for n in model.members if n.lower() in ("tags", "tagspecifications")), None)
    if name is None:
        return {"Tags": tags}  # refused: the operation knows none
    member = model.members[name]
    if member.type_name == "map":
        return {name: {tag["Key"]: tag["Value"] for tag in tags}}
    if name == "TagSpecifications":
        return {name: [{"Tags": tags}]}
    if "TagKey" in member.member.members:
        return {name: [{"TagKey": t["Key"], "TagValue": t["Value"]} for t in tags]}
    return {name: tags}


Made = Iterator[tuple[str, dict[str, JSON]]]
SCALABLE = ("ServiceNamespace", "ResourceId", "ScalableDimension")
GENERATED = "digitline-generated-name"  # CloudFormation makes up the names that we do not give


def _named(operation: str, name: str, **renamed: str) -> Callable[[dict[str, JSON]], Made]:
    """One operation; CloudFormation gives the name, or spells some properties differently."""

    def make(p: dict[str, JSON]) -> Made:
        for theirs, ours in renamed.items():
            if theirs in p:
                p[ours] = p.pop(theirs)
        yield operation, {name: GENERATED, **p}

    return make


def _bucket(p: dict[str, JSON]) -> Made:
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
    """A lifecycle rule out of CloudFormation's flat spelling."""
    if "ExpirationInDays" in rule:
        rule["Expiration"] = {"Days": rule.pop("ExpirationInDays")}
    return {"Filter": {"Prefix": rule.pop("Prefix", "")}, **rule}


def _load_balancer(p: dict[str, JSON]) -> Made:
    attributes = p.pop("LoadBalancerAttributes")
    yield "ModifyLoadBalancerAttributes", {"LoadBalancerArn": GENERATED, "Attributes": attributes}
    yield "CreateLoadBalancer", {"Name": GENERATED, **p}


def _target_group(p: dict[str, JSON]) -> Made:
    attributes = p.pop("TargetGroupAttributes")
    yield "ModifyTargetGroupAttributes", {"TargetGroupArn": GENERATED, "Attributes": attributes}
    yield "CreateTargetGroup", {"Name": GENERATED, **p}


def _scalable_target(p: dict[str, JSON]) -> Made:
    key = {name: p[name] for name in SCALABLE}
    for action in p.pop("ScheduledActions"):
        yield "PutScheduledAction", {**key, **action}
    yield "RegisterScalableTarget", p


def _state_machine(p: dict[str, JSON]) -> Made:
    """The machine, and the calls that its states will make."""
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
    """Parameters whose names end in ``.$`` are filled in when the machine runs."""
    if isinstance(value, list):
        return [_at_run_time(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key.removesuffix(".$"): f"{{run:{item}}}" if key.endswith(".$") else _at_run_time(item)
        for key, item in value.items()
    }


def _repository(p: dict[str, JSON]) -> Made:
    del p["EmptyOnDelete"]  # read when CloudFormation deletes it
    policy = {"RepositoryName": p["RepositoryName"], **p.pop("LifecyclePolicy")}
    yield "PutLifecyclePolicy", policy
    yield "CreateRepository", p


def _event_rule(p: dict[str, JSON]) -> Made:
    yield "PutTargets", {"Rule": GENERATED, "Targets": p.pop("Targets")}
    yield "PutRule", {"Name": GENERATED, **p}


def _parameter_group(p: dict[str, JSON]) -> Made:
    group = {"DBParameterGroupName": GENERATED}
    settings = [
        {"ParameterName": name, "ParameterValue": value, "ApplyMethod": "pending-reboot"}
        for name, value in p.pop("Parameters").items()
    ]
    yield "ModifyDBParameterGroup", {**group, "Parameters": settings}
    yield "CreateDBParameterGroup", {**group, "DBParameterGroupFamily": p.pop("Family"), **p}


def _queue(p: dict[str, JSON]) -> Made:
    tags = p.pop("Tags")
    attributes = {key: str(value) for key, value in p.items()}
    yield "CreateQueue", {"QueueName": GENERATED, "Attributes": attributes, "Tags": tags}


def _queue_policy(p: dict[str, JSON]) -> Made:
    policy = json.dumps(p.pop("PolicyDocument"))
    for queue in p.pop("Queues"):
        yield "SetQueueAttributes", {"QueueUrl": queue, "Attributes": {"Policy": policy}, **p}


def _topic(p: dict[str, JSON]) -> Made:
    name, tags = p.pop("TopicName"), p.pop("Tags")
    yield "CreateTopic", {"Name": name, "Attributes": p, "Tags": tags}


def _topic_policy(p: dict[str, JSON]) -> Made:
    policy = json.dumps(p.pop("PolicyDocument"))
    for topic in p.pop("Topics"):
        arguments = {"AttributeName": "Policy", "AttributeValue": policy}
        yield "SetTopicAttributes", {"TopicArn": topic, **arguments, **p}


def _secret(p: dict[str, JSON]) -> Made:
    generate = p.pop("GenerateSecretString")
    generate.pop("SecretStringTemplate", None)  # where CloudFormation puts the password
    generate.pop("GenerateStringKey", None)
    yield "GetRandomPassword", generate
    yield "CreateSecret", {"Name": GENERATED, **p}


def _budget(p: dict[str, JSON]) -> Made:
    limit = p["Budget"]["BudgetLimit"]
    limit["Amount"] = str(limit["Amount"])
    yield "CreateBudget", {"AccountId": "123456789012", **p}


def _key(p: dict[str, JSON]) -> Made:
    if p.pop("EnableKeyRotation"):
        yield "EnableKeyRotation", {"KeyId": GENERATED}
    p["Policy"] = p.pop("KeyPolicy")
    yield "CreateKey", p


def _log_group(p: dict[str, JSON]) -> Made:
    yield "PutRetentionPolicy", {"LogGroupName": GENERATED, **_only(p, "RetentionInDays")}
    yield "CreateLogGroup", {"LogGroupName": GENERATED, **p}


def _role(p: dict[str, JSON]) -> Made:
    for policy in p.pop("ManagedPolicyArns", []):
        yield "AttachRolePolicy", {"RoleName": GENERATED, "PolicyArn": policy}
    yield "CreateRole", {"RoleName": GENERATED, **p}


def _role_policy(p: dict[str, JSON]) -> Made:
    for role in p.pop("Roles"):
        yield "PutRolePolicy", {"RoleName": role, **p}


def _security_group(p: dict[str, JSON]) -> Made:
    for way in ("Ingress", "Egress"):
        for rule in p.pop(f"SecurityGroup{way}", []):
            yield f"AuthorizeSecurityGroup{way}", _permission(GENERATED, rule)
    described = {"GroupName": GENERATED, "Description": p.pop("GroupDescription")}
    yield "CreateSecurityGroup", {**described, **p}


def _group_rule(way: str, peer: str) -> Callable[[dict[str, JSON]], Made]:
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


def _vpc(p: dict[str, JSON]) -> Made:
    for name in ("EnableDnsHostnames", "EnableDnsSupport"):
        yield "ModifyVpcAttribute", {"VpcId": GENERATED, name: {"Value": p.pop(name)}}
    yield "CreateVpc", p


def _subnet(p: dict[str, JSON]) -> Made:
    public = {"MapPublicIpOnLaunch": {"Value": p.pop("MapPublicIpOnLaunch")}}
    yield "ModifySubnetAttribute", {"SubnetId": GENERATED, **public}
    yield "CreateSubnet", p


def _flow_log(p: dict[str, JSON]) -> Made:
    yield "CreateFlowLogs", {"ResourceIds": [p.pop("ResourceId")], **p}


def _only(p: dict[str, JSON], *names: str) -> dict[str, JSON]:
    """Take some properties out."""
    return {name: p.pop(name) for name in names if name in p}


Create = str | Callable[[dict[str, JSON]], Made]
CREATES: Mapping[str, tuple[str, Create]] = {
    "ApplicationAutoScaling::ScalableTarget": ("application-autoscaling", _scalable_target),
    "ApplicationAutoScaling::ScalingPolicy": ("application-autoscaling", "PutScalingPolicy"),
    "Budgets::Budget": ("budgets", _budget),
    "CloudWatch::Alarm": ("cloudwatch", "PutMetricAlarm"),
    "CloudWatch::Dashboard": ("cloudwatch", "PutDashboard"),
    "EC2::FlowLog": ("ec2", _flow_log),
    "EC2::InternetGateway": ("ec2", "CreateInternetGateway"),
    "EC2::Route": ("ec2", "CreateRoute"),
    "EC2::RouteTable": ("ec2", "CreateRouteTable"),
    "EC2::SecurityGroup": ("ec2", _security_group),
    "EC2::SecurityGroupEgress": ("ec2", _group_rule("Egress", "DestinationSecurityGroupId")),
    "EC2::SecurityGroupIngress": ("ec2", _group_rule("Ingress", "SourceSecurityGroupId")),
    "EC2::Subnet": ("ec2", _subnet),
    "EC2::SubnetRouteTableAssociation": ("ec2", "AssociateRouteTable"),
    "EC2::VPC": ("ec2", _vpc),
    "EC2::VPCEndpoint": ("ec2", "CreateVpcEndpoint"),
    "EC2::VPCGatewayAttachment": ("ec2", "AttachInternetGateway"),
    "ECR::Repository": ("ecr", _repository),
    "ECS::Cluster": ("ecs", _named("CreateCluster", "ClusterName", ClusterSettings="Settings")),
    "ECS::Service": ("ecs", _named("CreateService", "ServiceName")),
    "ECS::TaskDefinition": ("ecs", "RegisterTaskDefinition"),
    "ElasticLoadBalancingV2::Listener": ("elbv2", "CreateListener"),
    "ElasticLoadBalancingV2::ListenerRule": ("elbv2", "CreateRule"),
    "ElasticLoadBalancingV2::LoadBalancer": ("elbv2", _load_balancer),
    "ElasticLoadBalancingV2::TargetGroup": ("elbv2", _target_group),
    "Events::Rule": ("events", _event_rule),
    "IAM::OIDCProvider": ("iam", "CreateOpenIDConnectProvider"),
    "IAM::Policy": ("iam", _role_policy),
    "IAM::Role": ("iam", _role),
    "KMS::Key": ("kms", _key),
    "Logs::LogGroup": ("logs", _log_group),
    "RDS::DBInstance": (
        "rds",
        _named("CreateDBInstance", "DBInstanceIdentifier", VPCSecurityGroups="VpcSecurityGroupIds"),
    ),
    "RDS::DBParameterGroup": ("rds", _parameter_group),
    "RDS::DBSubnetGroup": ("rds", _named("CreateDBSubnetGroup", "DBSubnetGroupName")),
    "S3::Bucket": ("s3", _bucket),
    "S3::BucketPolicy": ("s3", _named("PutBucketPolicy", "Bucket", PolicyDocument="Policy")),
    "SNS::Subscription": ("sns", "Subscribe"),
    "SNS::Topic": ("sns", _topic),
    "SNS::TopicPolicy": ("sns", _topic_policy),
    "SQS::Queue": ("sqs", _queue),
    "SQS::QueuePolicy": ("sqs", _queue_policy),
    "Scheduler::Schedule": ("scheduler", "CreateSchedule"),
    "SecretsManager::Secret": ("secretsmanager", _secret),
    "ServiceDiscovery::PrivateDnsNamespace": ("servicediscovery", "CreatePrivateDnsNamespace"),
    "ServiceDiscovery::Service": ("servicediscovery", "CreateService"),
    "StepFunctions::StateMachine": ("stepfunctions", _state_machine),
    "WAFv2::WebACL": ("wafv2", "CreateWebACL"),
    "WAFv2::WebACLAssociation": ("wafv2", "AssociateWebACL"),
}
