"""Data at rest: private, encrypted, expired in time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from infra import aws, lookups, settings
from infra.invariants.rule import must_hold
from infra.world import World, dig


@must_hold
def buckets_are_private_encrypted_and_expire_objects(world: World) -> Iterator[str]:
    """Public access blocked, KMS (S3-managed for access logs only), TLS only, lifecycle, logged."""
    log_targets = {
        b.get("LoggingConfiguration.DestinationBucketName") for b in world.all("S3::Bucket")
    }
    for bucket in world.all("S3::Bucket"):
        block = bucket.get("PublicAccessBlockConfiguration", {})
        if [block.get(k) for k in aws.BLOCKS] != [True] * 4:
            yield f"{bucket}: public access is not blocked"
        is_log = bucket.ref in log_targets
        rules = bucket.get("BucketEncryption.ServerSideEncryptionConfiguration", [])
        wanted = "AES256" if is_log else "aws:kms"
        if [dig(r, "ServerSideEncryptionByDefault.SSEAlgorithm") for r in rules] != [wanted]:
            yield f"{bucket}: not encrypted with {wanted}"
        policies = [p for p in world.all("S3::BucketPolicy") if p.get("Bucket") == bucket.ref]
        if not any('"aws:SecureTransport": "false"' in json.dumps(p.properties) for p in policies):
            yield f"{bucket}: accepts plain HTTP"
        if not bucket.get("LifecycleConfiguration.Rules"):
            yield f"{bucket}: no lifecycle rules, objects never expire"
        if not is_log and not bucket.get("LoggingConfiguration"):
            yield f"{bucket}: accesses are not logged"


@must_hold
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


@must_hold
def a_failed_first_deployment_can_be_repeated(world: World) -> Iterator[str]:
    """What outlives its stack and has a fixed name goes when its creation is rolled back."""
    kinds = ("S3::Bucket", "ECR::Repository", "SecretsManager::Secret")
    for stack, template in world.templates.items():
        for name, body in template["Resources"].items():
            kept = body.get("DeletionPolicy") == "Retain"
            if kept and body["Type"].removeprefix("AWS::") in kinds:
                yield f"{{{stack}.{name}}}: stays after a failed creation and blocks the next"


@must_hold
def the_database_is_private_encrypted_and_backed_up(world: World) -> Iterator[str]:
    """PostgreSQL, TLS only, backed up."""
    for database in world.all("RDS::DBInstance"):
        if database.get("Engine") != "postgres" or "." not in database.get("EngineVersion", ""):
            yield f"{database}: engine {database.get('Engine')} {database.get('EngineVersion')}"
        if database.get("PubliclyAccessible") is not False or not database.get("StorageEncrypted"):
            yield f"{database}: public or unencrypted"
        if not database.get("BackupRetentionPeriod"):
            yield f"{database}: no backups"
        parameters = world.at(database.get("DBParameterGroupName"))
        if parameters is None or parameters.get("Parameters", {}).get("rds.force_ssl") != "1":
            yield f"{database}: accepts connections without TLS"
        if "MasterUserPassword" in database.properties and "resolve:secretsmanager" not in str(
            database.get("MasterUserPassword")
        ):
            yield f"{database}: its password is in the template"


@must_hold
def images_cannot_be_replaced(world: World) -> Iterator[str]:
    """A tag always names the same image; each image is scanned."""
    for repository in world.all("ECR::Repository"):
        if repository.get("ImageTagMutability") != "IMMUTABLE":
            yield f"{repository}: tags can be moved"
        if repository.get("ImageScanningConfiguration.ScanOnPush") is not True:
            yield f"{repository}: images are not scanned"
    for task, container in lookups.all_containers(world):
        if not re.search(r":\{ssm:/digitline/[\w/-]+-image-tag\}$", container["Image"]):
            yield f"{task}: image {container['Image'][-60:]} takes its tag from no SSM parameter"


@must_hold
def logs_are_encrypted_and_expire(world: World) -> Iterator[str]:
    """A log group without retention keeps its logs for ever."""
    for group in world.all("Logs::LogGroup"):
        if not group.get("RetentionInDays"):
            yield f"{group}: no retention"
        if world.at(group.get("KmsKeyId")) is None:
            yield f"{group}: not encrypted with our key"
