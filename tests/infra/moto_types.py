"""Teach moto's CloudFormation what its own service APIs already can.

moto 5.2.5 skips 16 of our resource types silently and drops properties of five more. Each entry
below creates the resource through the real AWS API (boto3 against the moto server), so every call
is checked by botocore's service model: an unknown property, a wrong type or a wrong case fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore import xform_name
from moto.core.common_models import CloudFormationModel
from moto.ecs import models as ecs_models
from moto.elbv2 import models as elb_models
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.kms import models as kms_models
from moto.rds import models as rds_models
from moto.s3 import models as s3_models

ACCOUNT = "123456789012"  # of every access key that moto does not know


@dataclass
class Aws:
    """Where the moto server listens, and in which region."""

    endpoint: str = ""
    region: str = ""

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="test",
        )

    def call(self, service: str, operation: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation with CloudFormation's spelling of its arguments."""
        client = self.client(service)
        shape = client.meta.service_model.operation_model(operation).input_shape
        return getattr(client, xform_name(operation))(**as_input(plain(dict(properties)), shape))


AWS = Aws()  # set by the deployment; moto calls the classes below with no context of ours


@dataclass
class Created:
    """What CloudFormation's Ref and GetAtt give."""

    ref: str
    attributes: dict[str, str] = field(default_factory=dict)


class UnknownPropertyError(Exception):
    """A property that the service's API does not know."""


def as_input(value: Any, shape: Any, path: str = "") -> Any:
    """Spell a property as the API does: member names by case, numbers as numbers.

    Raises:
        UnknownPropertyError: botocore's model has no such member.
    """
    if shape.type_name == "structure":
        members = {name.lower(): name for name in shape.members}
        unknown = [key for key in value if key.lower() not in members]
        if unknown:
            raise UnknownPropertyError(
                f"{shape.name}{path}: {unknown} not in {list(shape.members)}"
            )
        spelt = {members[key.lower()]: item for key, item in value.items()}
        return {
            key: as_input(item, shape.members[key], f"{path}.{key}") for key, item in spelt.items()
        }
    if shape.type_name == "list":
        return [as_input(item, shape.member, path) for item in value]
    if shape.type_name == "map":
        return {key: as_input(item, shape.value, path) for key, item in value.items()}
    if shape.type_name in ("integer", "long"):
        return int(value)
    if shape.type_name in ("float", "double"):
        return float(value)
    if shape.type_name == "boolean":
        return value if isinstance(value, bool) else {"true": True, "false": False}[value.lower()]
    return value if isinstance(value, str) else json.dumps(value)


def plain(value: Any) -> Any:
    """Replace moto's objects by what a Ref to them gives."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return getattr(value, "physical_resource_id", value)


# --- types that moto's CloudFormation does not know ---------------------------------------------
def _alarm(properties: dict[str, Any], name: str) -> Created:
    alarm = properties.setdefault("AlarmName", name)
    AWS.call("cloudwatch", "PutMetricAlarm", properties)
    return Created(alarm, {"Arn": f"arn:aws:cloudwatch:{AWS.region}:{ACCOUNT}:alarm:{alarm}"})


def _scalable_target(properties: dict[str, Any], name: str) -> Created:
    actions = properties.pop("ScheduledActions", [])
    properties["Tags"] = {t["Key"]: t["Value"] for t in properties.get("Tags", [])}
    AWS.call("application-autoscaling", "RegisterScalableTarget", properties)
    key = {k: properties[k] for k in ("ServiceNamespace", "ResourceId", "ScalableDimension")}
    for action in actions:
        AWS.call("application-autoscaling", "PutScheduledAction", {**key, **action})
    return Created("|".join((key["ResourceId"], key["ScalableDimension"], key["ServiceNamespace"])))


def _scaling_policy(properties: dict[str, Any], name: str) -> Created:
    resource, dimension, namespace = properties.pop("ScalingTargetId").split("|")
    key = {"ResourceId": resource, "ScalableDimension": dimension, "ServiceNamespace": namespace}
    answer = AWS.call("application-autoscaling", "PutScalingPolicy", {**key, **properties})
    return Created(answer["PolicyARN"])


def _secret(properties: dict[str, Any], name: str) -> Created:
    generate = properties.pop("GenerateSecretString", {})
    content = json.loads(generate.get("SecretStringTemplate", "{}"))
    content[generate.get("GenerateStringKey", "password")] = "generated"
    arguments = {"Name": name, **properties, "SecretString": json.dumps(content)}
    return Created(AWS.call("secretsmanager", "CreateSecret", arguments)["ARN"])


def _bucket_policy(properties: dict[str, Any], name: str) -> Created:
    arguments = {"Bucket": properties["Bucket"], "Policy": properties["PolicyDocument"]}
    AWS.call("s3", "PutBucketPolicy", arguments)
    return Created(name)


def _subscription(properties: dict[str, Any], name: str) -> Created:
    return Created(AWS.call("sns", "Subscribe", properties)["SubscriptionArn"])


def _topic_policy(properties: dict[str, Any], name: str) -> Created:
    for topic in properties["Topics"]:
        policy = json.dumps(properties["PolicyDocument"])
        arguments = {"TopicArn": topic, "AttributeName": "Policy", "AttributeValue": policy}
        AWS.call("sns", "SetTopicAttributes", arguments)
    return Created(name)


def _queue_policy(properties: dict[str, Any], name: str) -> Created:
    for queue in properties["Queues"]:
        policy = json.dumps(properties["PolicyDocument"])
        AWS.call("sqs", "SetQueueAttributes", {"QueueUrl": queue, "Attributes": {"Policy": policy}})
    return Created(name)


def _oidc_provider(properties: dict[str, Any], name: str) -> Created:
    arguments = {
        "Url": properties["Url"],
        "ClientIDList": properties["ClientIdList"],
        "ThumbprintList": ["0" * 40],  # AWS looks GitHub's up itself; moto wants one
    }
    arn = AWS.call("iam", "CreateOpenIDConnectProvider", arguments)["OpenIDConnectProviderArn"]
    return Created(arn, {"Arn": arn})


def _egress(properties: dict[str, Any], name: str) -> Created:
    permission = {k: properties[k] for k in ("IpProtocol", "FromPort", "ToPort")}
    permission["UserIdGroupPairs"] = [{"GroupId": properties["DestinationSecurityGroupId"]}]
    arguments = {"GroupId": properties["GroupId"], "IpPermissions": [permission]}
    AWS.call("ec2", "AuthorizeSecurityGroupEgress", arguments)
    return Created(name)


def _web_acl(properties: dict[str, Any], name: str) -> Created:
    summary = AWS.call("wafv2", "CreateWebACL", properties)["Summary"]
    return Created(summary["Id"], {"Arn": summary["ARN"], "Id": summary["Id"]})


def _web_acl_association(properties: dict[str, Any], name: str) -> Created:
    AWS.call("wafv2", "AssociateWebACL", properties)
    return Created(name)


def _schedule(properties: dict[str, Any], name: str) -> Created:
    properties.setdefault("Name", name)
    arn = AWS.call("scheduler", "CreateSchedule", properties)["ScheduleArn"]
    return Created(properties["Name"], {"Arn": arn})


def _budget(properties: dict[str, Any], name: str) -> Created:
    budget = properties["Budget"]
    limit = {k: str(v) for k, v in budget["BudgetLimit"].items()}
    arguments = {
        "AccountId": ACCOUNT,
        "Budget": {**budget, "BudgetLimit": limit},
        "NotificationsWithSubscribers": properties["NotificationsWithSubscribers"],
    }
    AWS.call("budgets", "CreateBudget", arguments)
    return Created(budget["BudgetName"])


def _namespace(properties: dict[str, Any], name: str) -> Created:
    AWS.call("servicediscovery", "CreatePrivateDnsNamespace", properties)
    namespaces = AWS.client("servicediscovery").list_namespaces()["Namespaces"]
    found = next(n for n in namespaces if n["Name"] == properties["Name"])
    return Created(found["Id"], {"Id": found["Id"], "Arn": found["Arn"]})


def _discovery_service(properties: dict[str, Any], name: str) -> Created:
    service = AWS.call("servicediscovery", "CreateService", properties)["Service"]
    return Created(service["Id"], {"Arn": service["Arn"], "Id": service["Id"]})


MISSING: dict[str, Callable[[dict[str, Any], str], Created]] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": _scalable_target,
    "AWS::ApplicationAutoScaling::ScalingPolicy": _scaling_policy,
    "AWS::Budgets::Budget": _budget,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::EC2::SecurityGroupEgress": _egress,
    "AWS::IAM::OIDCProvider": _oidc_provider,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::SNS::Subscription": _subscription,
    "AWS::SNS::TopicPolicy": _topic_policy,
    "AWS::SQS::QueuePolicy": _queue_policy,
    "AWS::Scheduler::Schedule": _schedule,
    "AWS::SecretsManager::Secret": _secret,
    "AWS::SecretsManager::SecretTargetAttachment": lambda p, _: Created(p["SecretId"]),
    "AWS::ServiceDiscovery::PrivateDnsNamespace": _namespace,
    "AWS::ServiceDiscovery::Service": _discovery_service,
    "AWS::WAFv2::WebACL": _web_acl,
    "AWS::WAFv2::WebACLAssociation": _web_acl_association,
}
created_types: set[str] = set()


def _teach(kind: str, create: Callable[[dict[str, Any], str], Created]) -> type:
    """A class that moto finds among the subclasses of its CloudFormationModel."""

    class Taught(CloudFormationModel):
        __module__ = "moto.taught.models"  # moto takes the service's name from here

        @staticmethod
        def cloudformation_name_type() -> str:
            return ""

        @staticmethod
        def cloudformation_type() -> str:
            return kind

        @classmethod
        def has_cfn_attr(cls, attr: str) -> bool:
            return True

        @classmethod
        def create_from_cloudformation_json(cls, resource_name, cloudformation_json, *_, **__):
            made = cls()
            made.created = create(plain(dict(cloudformation_json["Properties"])), resource_name)
            created_types.add(kind)
            return made

        @property
        def physical_resource_id(self) -> str:
            return self.created.ref

        def get_cfn_attribute(self, attribute_name: str) -> str:
            return self.created.attributes[attribute_name]

    Taught.__name__ = kind.replace("::", "")
    return Taught


TAUGHT = [_teach(kind, create) for kind, create in MISSING.items()]


# --- types whose properties moto's CloudFormation drops -----------------------------------------
def _wrap(model: type, after: Callable[[Any, dict[str, Any]], None]) -> None:
    """Create as moto does, then set through the API what it left out."""
    original = model.create_from_cloudformation_json.__func__

    def create(cls, resource_name, cloudformation_json, *args, **kwargs):
        made = original(cls, resource_name, cloudformation_json, *args, **kwargs)
        after(made, plain(cloudformation_json["Properties"]))
        return made

    model.create_from_cloudformation_json = classmethod(create)


def _load_balancer_attributes(made: Any, properties: dict[str, Any]) -> None:
    arguments = {"LoadBalancerArn": made.arn, "Attributes": properties["LoadBalancerAttributes"]}
    AWS.call("elbv2", "ModifyLoadBalancerAttributes", arguments)


def _target_group_attributes(made: Any, properties: dict[str, Any]) -> None:
    arguments = {"TargetGroupArn": made.arn, "Attributes": properties["TargetGroupAttributes"]}
    AWS.call("elbv2", "ModifyTargetGroupAttributes", arguments)


def _bucket_settings(made: Any, properties: dict[str, Any]) -> None:
    bucket = {"Bucket": made.name}
    block = properties["PublicAccessBlockConfiguration"]
    AWS.call("s3", "PutPublicAccessBlock", {**bucket, "PublicAccessBlockConfiguration": block})
    versioning = properties["VersioningConfiguration"]
    AWS.call("s3", "PutBucketVersioning", {**bucket, "VersioningConfiguration": versioning})
    rules = properties["LifecycleConfiguration"]["Rules"]
    lifecycle = {"Rules": [_lifecycle_rule(rule, number) for number, rule in enumerate(rules)]}
    arguments = {**bucket, "LifecycleConfiguration": lifecycle}
    AWS.call("s3", "PutBucketLifecycleConfiguration", arguments)


def _lifecycle_rule(rule: dict[str, Any], number: int) -> dict[str, Any]:
    """CloudFormation's flat spelling to the API's nested one."""
    prefix = {"Prefix": rule.get("Prefix", "")}
    api: dict[str, Any] = {"ID": str(number), "Status": rule["Status"], "Filter": prefix}
    if "ExpirationInDays" in rule:
        api["Expiration"] = {"Days": rule["ExpirationInDays"]}
    for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
        if name in rule:
            api[name] = rule[name]
    return api


def _change(model: type, before: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Give moto's creation the properties as it expects them."""
    original = model.create_from_cloudformation_json.__func__

    def create(cls, resource_name, cloudformation_json, *args, **kwargs):
        body = {**cloudformation_json, "Properties": before(cloudformation_json["Properties"])}
        return original(cls, resource_name, body, *args, **kwargs)

    model.create_from_cloudformation_json = classmethod(create)


def _kms_tags(properties: dict[str, Any]) -> dict[str, Any]:
    tags = [{"TagKey": t["Key"], "TagValue": t["Value"]} for t in properties.get("Tags", [])]
    return {**properties, "Tags": tags}


def _database(properties: dict[str, Any]) -> dict[str, Any]:
    """Names instead of objects, and a password instead of a reference to one."""
    group = properties["DBParameterGroupName"].name
    return {**properties, "DBParameterGroupName": group, "MasterUserPassword": "generated"}


_change(kms_models.Key, _kms_tags)
_change(rds_models.DBInstance, _database)
_wrap(elb_models.FakeLoadBalancer, _load_balancer_attributes)
_wrap(elb_models.FakeTargetGroup, _target_group_attributes)
_wrap(s3_models.FakeBucket, _bucket_settings)


def _load_balancer_attribute(self: Any, name: str) -> str:
    known = {"LoadBalancerFullName": self.arn.split(":loadbalancer/")[1], "DNSName": self.dns_name}
    return str(known[name])


def _target_group_attribute(self: Any, name: str) -> str:
    known = {"TargetGroupFullName": "targetgroup/" + self.arn.split(":targetgroup/")[1]}
    return known[name]


elb_models.FakeLoadBalancer.has_cfn_attr = classmethod(lambda cls, attr: True)
elb_models.FakeLoadBalancer.get_cfn_attribute = _load_balancer_attribute
elb_models.FakeTargetGroup.has_cfn_attr = classmethod(lambda cls, attr: True)
elb_models.FakeTargetGroup.get_cfn_attribute = _target_group_attribute


def _task_definition(cls, name, body, account, region, **_):
    answer = AWS.call("ecs", "RegisterTaskDefinition", body["Properties"])["taskDefinition"]
    backend = ecs_models.ecs_backends[account][region]
    return backend.task_definitions[answer["family"]][answer["revision"]]


def _ecs_service(cls, name, body, account, region, **_):
    properties = {"ServiceName": name, "DesiredCount": 1, **plain(body["Properties"])}
    arn = AWS.call("ecs", "CreateService", properties)["service"]["serviceArn"]
    backend = ecs_models.ecs_backends[account][region]
    return next(s for s in backend.services.values() if s.arn == arn)


ecs_models.TaskDefinition.create_from_cloudformation_json = classmethod(_task_definition)
ecs_models.Service.create_from_cloudformation_json = classmethod(_ecs_service)


# --- permissions --------------------------------------------------------------------------------
_is_action_permitted = IAMPolicyStatement.is_action_permitted


def _without_conditions(self, action, resource="*", principal=None, incoming_condition_values=None):
    """moto knows no request's conditions, and takes a condition that is not met for a refusal.

    Here an Allow's conditions count as met and a Deny's (plain HTTP) as not met: actions and
    resources are judged, conditions are not.
    """
    if self._statement["Effect"] == "Deny" and self._statement.get("Condition"):
        return PermissionResult.NEUTRAL
    bare = {key: value for key, value in self._statement.items() if key != "Condition"}
    listed = self._statement.get("Resource", [])
    listed = [listed] if isinstance(listed, str) else listed
    if resource == "*":
        resource = listed[0] if listed else resource
    if action == "s3:DeleteObject" and "/" not in resource:
        resource = next((r for r in listed if r.startswith(f"{resource}/")), resource)
    return _is_action_permitted(IAMPolicyStatement(bare), action, resource, principal)


IAMPolicyStatement.is_action_permitted = _without_conditions
