"""The AWS operations that CloudFormation calls to create a resource, with their arguments.

A property that no operation accepts is an error, so no property of a template is skipped. Types
that have no operation are in ``NO_CALL``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import api_spelling as spelling
import botocore.session
from api_spelling import JSON, Made
from moto_api import as_input

from infra.world import Resource, World

NO_CALL = {  # type -> why it has no call
    "AWS::SecretsManager::SecretTargetAttachment": "only in CloudFormation: joins host, password",
}


@dataclass(frozen=True)
class Call:
    """One operation with its arguments, spelt as the API spells them."""

    service: str
    operation: str
    arguments: dict[str, JSON]

    def __str__(self) -> str:
        return f"{self.service}:{self.operation}"


@cache
def shape(service: str, operation: str) -> Any:
    model = botocore.session.get_session().get_service_model(service)
    return model.operation_model(operation).input_shape


def calls(resource: Resource, world: World) -> list[Call]:
    """The operations that create a resource.

    Raises:
        UnknownPropertyError: no operation takes one of its properties.
        KeyError: the type is not in CREATES.
    """
    service, create = CREATES[resource.type.removeprefix("AWS::")]
    properties = json.loads(json.dumps(resource.properties))
    target = world.at(properties.pop("ScalingTargetId", None))
    if target is not None:  # the API has no such reference: a policy names its target
        properties |= {name: target.get(name) for name in spelling.SCALABLE}
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
    """Tags in the spelling that the operation expects, one of five."""
    name = next((n for n in model.members if n.lower() in ("tags", "tagspecifications")), None)
    if name is None:
        return {"Tags": tags}  # as_input rejects it: the operation has no tags
    member = model.members[name]
    if member.type_name == "map":
        return {name: {tag["Key"]: tag["Value"] for tag in tags}}
    if name == "TagSpecifications":
        return {name: [{"Tags": tags}]}
    if "TagKey" in member.member.members:
        return {name: [{"TagKey": t["Key"], "TagValue": t["Value"]} for t in tags]}
    return {name: tags}


Create = str | Callable[[dict[str, JSON]], Made]
CREATES: Mapping[str, tuple[str, Create]] = {
    "ApplicationAutoScaling::ScalableTarget": ("application-autoscaling", spelling.scalable_target),
    "ApplicationAutoScaling::ScalingPolicy": ("application-autoscaling", "PutScalingPolicy"),
    "Budgets::Budget": ("budgets", spelling.budget),
    "CloudWatch::Alarm": ("cloudwatch", "PutMetricAlarm"),
    "CloudWatch::Dashboard": ("cloudwatch", "PutDashboard"),
    "EC2::FlowLog": ("ec2", spelling.flow_log),
    "EC2::InternetGateway": ("ec2", "CreateInternetGateway"),
    "EC2::Route": ("ec2", "CreateRoute"),
    "EC2::RouteTable": ("ec2", "CreateRouteTable"),
    "EC2::SecurityGroup": ("ec2", spelling.security_group),
    "EC2::SecurityGroupEgress": (
        "ec2",
        spelling.group_rule("Egress", "DestinationSecurityGroupId"),
    ),
    "EC2::SecurityGroupIngress": ("ec2", spelling.group_rule("Ingress", "SourceSecurityGroupId")),
    "EC2::Subnet": ("ec2", spelling.subnet),
    "EC2::SubnetRouteTableAssociation": ("ec2", "AssociateRouteTable"),
    "EC2::VPC": ("ec2", spelling.vpc),
    "EC2::VPCEndpoint": ("ec2", "CreateVpcEndpoint"),
    "EC2::VPCGatewayAttachment": ("ec2", "AttachInternetGateway"),
    "ECR::Repository": ("ecr", spelling.repository),
    "ECS::Cluster": (
        "ecs",
        spelling.named("CreateCluster", "ClusterName", ClusterSettings="Settings"),
    ),
    "ECS::Service": ("ecs", spelling.named("CreateService", "ServiceName")),
    "ECS::TaskDefinition": ("ecs", "RegisterTaskDefinition"),
    "ElasticLoadBalancingV2::Listener": ("elbv2", "CreateListener"),
    "ElasticLoadBalancingV2::ListenerRule": ("elbv2", "CreateRule"),
    "ElasticLoadBalancingV2::LoadBalancer": ("elbv2", spelling.load_balancer),
    "ElasticLoadBalancingV2::TargetGroup": ("elbv2", spelling.target_group),
    "Events::Rule": ("events", spelling.event_rule),
    "IAM::OIDCProvider": ("iam", "CreateOpenIDConnectProvider"),
    "IAM::Policy": ("iam", spelling.role_policy),
    "IAM::Role": ("iam", spelling.role),
    "KMS::Key": ("kms", spelling.key),
    "Lambda::Function": ("lambda", spelling.named("CreateFunction", "FunctionName")),
    "Lambda::Permission": ("lambda", spelling.named("AddPermission", "StatementId")),
    "Logs::LogGroup": ("logs", spelling.log_group),
    "RDS::DBInstance": (
        "rds",
        spelling.named(
            "CreateDBInstance", "DBInstanceIdentifier", VPCSecurityGroups="VpcSecurityGroupIds"
        ),
    ),
    "RDS::DBParameterGroup": ("rds", spelling.parameter_group),
    "RDS::DBSubnetGroup": ("rds", spelling.named("CreateDBSubnetGroup", "DBSubnetGroupName")),
    "S3::Bucket": ("s3", spelling.bucket),
    "S3::BucketPolicy": (
        "s3",
        spelling.named("PutBucketPolicy", "Bucket", PolicyDocument="Policy"),
    ),
    "SNS::Subscription": ("sns", "Subscribe"),
    "SNS::Topic": ("sns", spelling.topic),
    "SNS::TopicPolicy": ("sns", spelling.topic_policy),
    "SQS::Queue": ("sqs", spelling.queue),
    "SQS::QueuePolicy": ("sqs", spelling.queue_policy),
    "Scheduler::Schedule": ("scheduler", "CreateSchedule"),
    "SecretsManager::Secret": ("secretsmanager", spelling.secret),
    "ServiceDiscovery::PrivateDnsNamespace": ("servicediscovery", "CreatePrivateDnsNamespace"),
    "ServiceDiscovery::Service": ("servicediscovery", "CreateService"),
    "StepFunctions::StateMachine": ("stepfunctions", spelling.state_machine),
    "WAFv2::WebACL": ("wafv2", "CreateWebACL"),
}
