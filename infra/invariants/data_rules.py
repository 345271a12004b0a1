"""Data at rest: private, encrypted, expired in time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from infra import lookups, settings
from infra.invariants.rule import must_hold
from infra.world import World, dig


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html"
)
def buckets_are_encrypted_and_expire_objects(world: World) -> Iterator[str]:
    """KMS (S3-managed keys for access logs: ELB accepts no other), TLS only, a lifecycle."""
    log_targets = {
        b.get("LoggingConfiguration.DestinationBucketName") for b in world.all("S3::Bucket")
    }
    for bucket in world.all("S3::Bucket"):
        rules = bucket.get("BucketEncryption.ServerSideEncryptionConfiguration", [])
        wanted = "AES256" if bucket.ref in log_targets else "aws:kms"
        if [dig(r, "ServerSideEncryptionByDefault.SSEAlgorithm") for r in rules] != [wanted]:
            yield f"{bucket}: not encrypted with {wanted}"
        policies = [p for p in world.all("S3::BucketPolicy") if p.get("Bucket") == bucket.ref]
        if not any('"aws:SecureTransport": "false"' in json.dumps(p.properties) for p in policies):
            yield f"{bucket}: accepts plain HTTP"
        if not bucket.get("LifecycleConfiguration.Rules"):
            yield f"{bucket}: no lifecycle rules, objects never expire"


@must_hold("https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html")
def captures_expire_in_time(world: World) -> Iterator[str]:
    """docs/privacy.md promises 90 days, older versions included; labels and erasure marks stay."""
    for bucket in world.all("S3::Bucket"):
        if "-captures-" not in str(bucket.get("BucketName")):
            continue
        rules = bucket.get("LifecycleConfiguration.Rules")
        days = min(r.get("ExpirationInDays", 10**6) for r in rules)
        days += min(dig(r, "NoncurrentVersionExpiration.NoncurrentDays", 10**6) for r in rules)
        if days + 3 > settings.CAPTURE_DAYS:  # compaction, and two waits for midnight
            yield f"{bucket}: captures live for {days} days and 3, not {settings.CAPTURE_DAYS}"
        for rule in bucket.get("LifecycleConfiguration.Rules"):
            if "ExpirationInDays" in rule and rule.get("Prefix") != "captures/records/":
                yield f"{bucket}: expires more than records; erased requests could return"


@must_hold(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html"
)
def a_failed_first_deployment_can_be_repeated(world: World) -> Iterator[str]:
    """What outlives its stack and has a fixed name goes when its creation is rolled back."""
    kinds = ("S3::Bucket", "ECR::Repository", "SecretsManager::Secret")
    for stack, template in world.templates.items():
        for name, body in template["Resources"].items():
            kept = body.get("DeletionPolicy") == "Retain"
            if kept and body["Type"].removeprefix("AWS::") in kinds:
                yield f"{{{stack}.{name}}}: stays after a failed creation and blocks the next"


@must_hold(
    "https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithAutomatedBackups.html"
)
def the_database_is_backed_up(world: World) -> Iterator[str]:
    """Daily; and its password is not in the template."""
    for database in world.all("RDS::DBInstance"):
        if not database.get("BackupRetentionPeriod"):
            yield f"{database}: no backups"
        password = str(database.get("MasterUserPassword", "resolve:secretsmanager"))
        if "resolve:secretsmanager" not in password:
            yield f"{database}: its password is in the template"


@must_hold(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-supplied-parameter-types.html"
)
def images_take_their_tag_from_a_parameter(world: World) -> Iterator[str]:
    """A release changes the parameter; a tag in the template would be another truth."""
    for task, container in lookups.all_containers(world):
        if not re.search(r":\{ssm:/digitline/[\w/-]+-image-tag\}$", container["Image"]):
            yield f"{task}: image {container['Image'][-60:]} takes its tag from no SSM parameter"
