"""Data at rest: private, encrypted, expired in time."""

from __future__ import annotations

from mutations.seed import (
    Templates,
    seeds,
)


@seeds("CKV_AWS_54")
def public_bucket(t: Templates) -> None:
    block = t.one("S3::Bucket", "Captures")["PublicAccessBlockConfiguration"]
    block["BlockPublicPolicy"] = False


@seeds("buckets_are_encrypted_and_expire_objects")
def bucket_without_kms(t: Templates) -> None:
    t.replace("S3::Bucket", "Reports", "aws:kms", "AES256")


@seeds("buckets_are_encrypted_and_expire_objects")
def bucket_that_accepts_plain_http(t: Templates) -> None:
    t.delete("S3::BucketPolicy", "Training")


@seeds("buckets_are_encrypted_and_expire_objects")
def bucket_without_a_lifecycle(t: Templates) -> None:
    del t.one("S3::Bucket", "Artifacts")["LifecycleConfiguration"]


@seeds("CKV_AWS_18")
def unlogged_bucket(t: Templates) -> None:
    del t.one("S3::Bucket", "Captures")["LoggingConfiguration"]


@seeds("captures_expire_in_time")
def captures_kept_for_years(t: Templates) -> None:
    rule = t.one("S3::Bucket", "Captures")["LifecycleConfiguration"]["Rules"][0]
    rule["ExpirationInDays"] = 900


@seeds("captures_expire_in_time")
def older_versions_of_captures_outlive_the_promise(t: Templates) -> None:
    rule = t.one("S3::Bucket", "Captures")["LifecycleConfiguration"]["Rules"][1]
    rule["NoncurrentVersionExpiration"]["NoncurrentDays"] = 30


@seeds("a_failed_first_deployment_can_be_repeated")
def repository_left_by_a_failed_creation(t: Templates) -> None:
    t.all("ECR::Repository", "Service")[0]["DeletionPolicy"] = "Retain"


@seeds("captures_expire_in_time")
def marks_of_erasure_expire(t: Templates) -> None:
    del t.one("S3::Bucket", "Captures")["LifecycleConfiguration"]["Rules"][0]["Prefix"]


@seeds("CKV_AWS_17")
def public_database(t: Templates) -> None:
    t.one("RDS::DBInstance")["PubliclyAccessible"] = True


@seeds("CKV2_AWS_69")
def database_without_tls(t: Templates) -> None:
    t.one("RDS::DBParameterGroup")["Parameters"]["rds.force_ssl"] = "0"


@seeds("the_database_is_backed_up")
def database_without_backups(t: Templates) -> None:
    t.one("RDS::DBInstance")["BackupRetentionPeriod"] = 0


@seeds("CKV_AWS_51")
def movable_tags(t: Templates) -> None:
    t.one("ECR::Repository", "Service")["ImageTagMutability"] = "MUTABLE"


@seeds("images_take_their_tag_from_a_parameter")
def image_named_latest(t: Templates) -> None:
    t.container("server")["Image"] = "digits:latest"


@seeds("CKV_AWS_66")
def log_group_without_retention(t: Templates) -> None:
    del t.one("Logs::LogGroup", "ServerLogs")["RetentionInDays"]
