"""IAM permissions."""

from __future__ import annotations

from mutations.seed import (
    Templates,
    seeds,
)


@seeds("CKV_AWS_111")
def every_object_of_the_account(t: Templates) -> None:
    t.policy_of("TaskTaskRole")[0]["Resource"] = "*"


@seeds("CKV_AWS_60")
def role_for_everyone(t: Templates) -> None:
    role = t.one("IAM::Role", "TaskTaskRole")
    role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] = {"AWS": "*"}


@seeds("ci_deploys_without_a_key")
def any_branch_may_deploy(t: Templates) -> None:
    trust = t.one("IAM::Role", "Deployer")["AssumeRolePolicyDocument"]["Statement"][0]
    trust["Condition"]["StringEquals"]["token.actions.githubusercontent.com:sub"] = "repo:o/r:*"


@seeds("ci_deploys_without_a_key")
def access_key(t: Templates) -> None:
    t.stacks["identity"]["Resources"]["Key"] = {"Type": "AWS::IAM::AccessKey", "Properties": {}}
