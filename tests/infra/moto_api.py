"""Calls the moto server with CloudFormation's spelling of the arguments.

boto3 checks each call against botocore's service model: an unknown property, a wrong type or a
wrong case fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore import xform_name

ACCOUNT = "123456789012"  # moto's account for unknown access keys


@dataclass
class Aws:
    """Endpoint and region of the moto server."""

    endpoint: str = ""  # empty: AWS's own address, which moto intercepts in this process
    region: str = ""

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint or None,
            region_name=self.region,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="test",
        )

    def call(self, service: str, operation: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation with CloudFormation's spelling of its arguments."""
        client = self.client(service)
        shape = client.meta.service_model.operation_model(operation).input_shape
        return getattr(client, xform_name(operation))(**as_input(plain(dict(properties)), shape))


AWS = Aws()  # set by deployment.py; moto passes no context to the classes that call it


class UnknownPropertyError(Exception):
    """A property that the service's API does not have."""


def as_input(value: Any, shape: Any, path: str = "") -> Any:
    """Spell a property as the API does: case of member names, numbers as numbers.

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
    """Replace moto's objects by the value of a Ref to them."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return getattr(value, "physical_resource_id", value)
