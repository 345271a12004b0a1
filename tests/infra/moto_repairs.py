"""Sets the properties that moto 5.2.5's CloudFormation drops; ignores conditions in IAM policies.

An update may keep a parameter whose value was a default, and a resource that moto cannot update
stays as it was created.

Importing this module patches moto's classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.models import CloudFormationBackend
from moto.ecs import models as ecs_models
from moto.elbv2 import models as elb_models
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.kms import models as kms_models
from moto.rds import models as rds_models
from moto.s3 import models as s3_models
from moto_api import AWS, plain


def _wrap(model: type, after: Callable[[Any, dict[str, Any]], None]) -> None:
    """Create as moto does, then set the dropped properties through the API."""
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
    """CloudFormation's flat spelling as the API's nested one."""
    prefix = {"Prefix": rule.get("Prefix", "")}
    api: dict[str, Any] = {"ID": str(number), "Status": rule["Status"], "Filter": prefix}
    if "ExpirationInDays" in rule:
        api["Expiration"] = {"Days": rule["ExpirationInDays"]}
    for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
        if name in rule:
            api[name] = rule[name]
    return api


def _change(model: type, before: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the properties before moto creates the resource."""
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

_resolve_update = CloudFormationBackend._resolve_update_parameters


def _resolve_previous_or_default(self: Any, instance: Any, incoming_params: Any) -> dict[str, str]:
    """Find the parameters of an update; moto fails where the previous value was a default."""
    known = [
        given
        for given in incoming_params
        if not given.get("UsePreviousValue") or given["ParameterKey"] in instance.parameters
    ]
    return _resolve_update(self, instance, known)


CloudFormationBackend._resolve_update_parameters = _resolve_previous_or_default
_update_resource = parsing.parse_and_update_resource


def _update_or_keep(logical_id: str, body: Any, resources: Any, **where: str) -> Any:
    """Update a resource; moto forgets one that its class cannot update."""
    return _update_resource(logical_id, body, resources, **where) or resources[logical_id]


parsing.parse_and_update_resource = _update_or_keep


# --- permissions --------------------------------------------------------------------------------
_is_action_permitted = IAMPolicyStatement.is_action_permitted


def _without_conditions(self, action, resource="*", principal=None, incoming_condition_values=None):
    """Check actions and resources; ignore conditions, which moto cannot evaluate.

    moto denies a request whose condition it cannot evaluate. Here the conditions of an Allow count
    as met, and those of a Deny (plain HTTP) as not met.
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
