"""IAM permissions: exact actions on named prefixes.

CDK's own grants add wildcards (``s3:GetObject*``, ``kms:ReEncrypt*``) and, across stacks, edit the
other stack's policies. These functions add the listed statements to the given role
and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_iam as iam

from infra.acknowledge import acknowledge
from infra.data_buckets import DataBucket

READ = ("s3:GetObject",)
WRITE = ("s3:PutObject", "s3:AbortMultipartUpload")
DELETE = ("s3:DeleteObject",)


@dataclass(frozen=True, slots=True)
class ObjectGrant:
    """What a role may do with the objects below a prefix."""

    bucket: DataBucket
    prefix: str  # without a slash at its end
    actions: tuple[str, ...]  # READ, WRITE, DELETE or a sum of them
    reason: str  # what the role does there


def objects(role: iam.IRole, grant: ObjectGrant) -> None:
    """Let ``role`` act on the objects of ``grant``, and list them if it reads."""
    bucket, prefix = grant.bucket, grant.prefix
    below = f"{bucket.arn}/{prefix}/*"
    _allow(role, grant.actions, [below])
    if set(READ) & set(grant.actions):
        _allow(
            role,
            ["s3:ListBucket"],
            [bucket.arn],
            {"StringLike": {"s3:prefix": [prefix, f"{prefix}/*"]}},
        )
    _allow(role, ["s3:GetBucketLocation"], [bucket.arn])
    key_use(role, bucket.key_arn)
    acknowledge(role, f"AwsSolutions-IAM5[Resource::{_printed(below)}]", grant.reason)


def key_use(role: iam.IRole, key_arn: str) -> None:
    """Let ``role`` read from and write to a service that is encrypted with the key."""
    _allow(role, ["kms:Decrypt", "kms:GenerateDataKey"], [key_arn])


def secret(role: iam.IRole, arn: str) -> None:
    """Let ``role`` read the secret; the key that it is encrypted with is a grant of its own."""
    _allow(role, ["secretsmanager:GetSecretValue"], [arn])


def accept_any_resource(role: iam.IRole, reason: str) -> None:
    """Accept ``Resource: *`` for actions that have no resource in IAM, with the reason."""
    acknowledge(role, "AwsSolutions-IAM5[Resource::*]", reason)


def _allow(
    role: iam.IRole,
    actions: Sequence[str],
    resources: Sequence[str],
    conditions: dict[str, dict[str, list[str]]] | None = None,
) -> None:
    role.add_to_principal_policy(
        iam.PolicyStatement(actions=list(actions), resources=list(resources), conditions=conditions)
    )


def _printed(arn: str) -> str:
    """An ARN as cdk-nag prints it, with a placeholder for the account."""
    return arn.replace(cdk.Aws.ACCOUNT_ID, "<AWS::AccountId>")
