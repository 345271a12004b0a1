"""The buckets: private, encrypted, logged, with lifecycle rules."""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra import settings
from infra.acknowledge import acknowledge
from infra.settings import Environment


@dataclass(frozen=True, slots=True)
class DataBucket:
    """A bucket by name: other stacks refer to it so and cannot edit its policies."""

    name: str
    key_arn: str

    @property
    def arn(self) -> str:
        """The ARN of the bucket itself, without objects."""
        return f"arn:aws:s3:::{self.name}"

    def url(self, prefix: str) -> str:
        """The URL of the objects below a prefix."""
        return f"s3://{self.name}/{prefix}"


def log_bucket(scope: Construct, removal_policy: cdk.RemovalPolicy) -> s3.Bucket:
    """The bucket for access logs of the load balancer and of the other buckets."""
    bucket = s3.Bucket(
        scope,
        "AccessLogs",
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,  # ALB access logs accept no other
        enforce_ssl=True,
        minimum_tls_version=1.2,
        versioned=True,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        lifecycle_rules=[
            s3.LifecycleRule(
                expiration=cdk.Duration.days(settings.ACCESS_LOG_DAYS),
                noncurrent_version_expiration=cdk.Duration.days(1),
                abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
            )
        ],
        removal_policy=removal_policy,
    )
    reason = "it receives the access logs; logging its own accesses into itself would loop"
    acknowledge(bucket, "AwsSolutions-S1", reason)
    acknowledge(bucket, "CKV_AWS_18", reason)
    return bucket


def data_bucket(
    scope: Construct,
    environment: Environment,
    name: str,
    *,
    key: kms.IKey,
    logs: s3.IBucket,
    removal_policy: cdk.RemovalPolicy,
    expire_days: int | None = None,
    expire_below: str | None = None,
    restore_days: int = settings.NONCURRENT_DAYS,
) -> DataBucket:
    """A private bucket; with ``expire_below`` only objects below that prefix expire.

    An overwritten, expired or deleted object can be restored for ``restore_days``.
    """
    bucket = DataBucket(
        name=f"digitline-{environment.name}-{name}-{cdk.Aws.ACCOUNT_ID}",
        key_arn=key.key_arn,
    )
    expiry = []
    if expire_days is not None:
        days = cdk.Duration.days(expire_days)
        expiry = [s3.LifecycleRule(expiration=days, prefix=expire_below)]
    s3.Bucket(
        scope,
        name.capitalize(),
        bucket_name=bucket.name,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.KMS,
        encryption_key=key,
        bucket_key_enabled=True,  # one KMS call for many objects
        enforce_ssl=True,
        minimum_tls_version=1.2,
        versioned=True,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        server_access_logs_bucket=logs,
        server_access_logs_prefix=f"s3/{name}/",
        lifecycle_rules=[
            *expiry,
            s3.LifecycleRule(
                noncurrent_version_expiration=cdk.Duration.days(restore_days),
                abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
            ),
        ],
        removal_policy=removal_policy,
    )
    return bucket
