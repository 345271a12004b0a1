"""Adds the resource types that moto's CloudFormation lacks.

moto 5.2.5 silently skips 15 of our types. Each entry below creates the resource through the type's
own API (boto3 against the moto server).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from moto.core.common_models import CloudFormationModel
from moto_api import ACCOUNT, AWS, plain


@dataclass
class Created:
    """The values of CloudFormation's Ref and GetAtt."""

    ref: str
    attributes: dict[str, str] = field(default_factory=dict)


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
        "ThumbprintList": ["0" * 40],  # AWS looks up GitHub's thumbprint itself; moto requires one
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
}
created_types: set[str] = set()


def _model_class(kind: str, create: Callable[[dict[str, Any], str], Created]) -> type:
    """A class that moto finds among the subclasses of its CloudFormationModel."""

    class Model(CloudFormationModel):
        __module__ = "moto.added.models"  # moto derives the service's name from it

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

    Model.__name__ = kind.replace("::", "")
    return Model


MODELS = [_model_class(kind, create) for kind, create in MISSING.items()]
