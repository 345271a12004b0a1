"""Creates one environment in a moto server through CloudFormation."""

from __future__ import annotations

import datetime
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import moto_api
import moto_repairs  # noqa: F401  # changes moto's classes
import moto_types
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.server import ThreadedMotoServer

from infra.settings import Environment
from infra.world import Template


@dataclass(frozen=True)
class Deployment:
    """The endpoint of the moto server, and the stacks' outputs."""

    environment: Environment
    endpoint: str
    outputs: dict[str, dict[str, str]]
    num_resources: int

    def client(self, service: str) -> Any:
        return moto_api.AWS.client(service)


@contextmanager
def deployed(environment: Environment, templates: dict[str, Template]) -> Iterator[Deployment]:
    """Deploy as docs/deploy.md says: SSM parameters first, then every stack in order."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    moto_api.AWS.endpoint = f"http://{host}:{port}"
    moto_api.AWS.region = environment.region
    moto_types.created_types.clear()
    try:
        _put_parameters(environment)
        outputs, num_resources = {}, 0
        for name, template in templates.items():
            stack = f"digitline-{environment.name}-{name}"
            outputs[name] = _create(stack, template)
            resources = moto_api.AWS.client("cloudformation").list_stack_resources(StackName=stack)
            num_resources += len(resources["StackResourceSummaries"])
        yield Deployment(environment, moto_api.AWS.endpoint, outputs, num_resources)
    finally:
        reset = urllib.request.Request(f"{moto_api.AWS.endpoint}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
        server.stop()


def _create(stack: str, template: Template) -> dict[str, str]:
    client = moto_api.AWS.client("cloudformation")
    client.create_stack(
        StackName=stack, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    made = client.describe_stacks(StackName=stack)["Stacks"][0]
    if made["StackStatus"] != "CREATE_COMPLETE":
        raise RuntimeError(f"{stack}: {made['StackStatus']} {made.get('StackStatusReason', '')}")
    return {output["OutputKey"]: output["OutputValue"] for output in made.get("Outputs", [])}


def _put_parameters(environment: Environment) -> None:
    """The SSM parameters that the operator sets (docs/deploy.md)."""
    ssm = moto_api.AWS.client("ssm")
    parameters = {
        environment.parameter("page-email"): "pager@example.com",
        environment.parameter("ticket-email"): "operator@example.com",
        environment.parameter("domain"): "digits.example.com",
        environment.parameter("certificate-arn"): certificate(),
        environment.parameter("github-repository"): "example/digitline",
        environment.parameter("service-image-tag"): "champion-1-0000000",
        environment.parameter("jobs-image-tag"): "0000000",
        environment.parameter("mlflow-image-tag"): "0000000",
        "/cdk-bootstrap/hnb659fds/version": "30",
    }
    for name, value in parameters.items():
        ssm.put_parameter(Name=name, Value=value, Type="String")


def certificate() -> str:
    """A self-signed certificate in ACM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "digits.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    imported = moto_api.AWS.client("acm").import_certificate(
        Certificate=certificate.public_bytes(pem),
        PrivateKey=key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    return str(imported["CertificateArn"])
