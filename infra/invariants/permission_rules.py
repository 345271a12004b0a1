"""IAM permissions."""

from __future__ import annotations

from collections.abc import Iterator

from infra import aws, lookups
from infra.invariants.rule import must_hold
from infra.world import World, dig


@must_hold
def permissions_name_actions_and_resources(world: World) -> Iterator[str]:
    """No wildcard action; a wildcard resource only with a condition or if the action has none."""
    for owner, statement in lookups.identity_statements(world):
        actions = lookups.listed(statement.get("Action"))
        if any("*" in action for action in actions):
            yield f"{owner}: wildcard action in {actions}"
        if "*" in lookups.listed(statement.get("Resource")) and not statement.get("Condition"):
            loose = [a for a in actions if not aws.ACTIONS_WITHOUT_RESOURCE.fullmatch(a)]
            if loose:
                yield f"{owner}: {loose} on every resource"


@must_hold
def roles_are_assumed_by_one_kind_of_principal(world: World) -> Iterator[str]:
    """AWS services and the one identity provider; no accounts, no anonymous principal."""
    for role in world.all("IAM::Role"):
        for statement in role.get("AssumeRolePolicyDocument.Statement", []):
            principal = statement.get("Principal", {})
            if not isinstance(principal, dict) or not set(principal) <= {"Service", "Federated"}:
                yield f"{role}: can be assumed by {principal}"


@must_hold
def ci_deploys_without_a_key(world: World) -> Iterator[str]:
    """GitHub's token for exactly this repository and environment; no IAM user."""
    for kind in ("IAM::User", "IAM::AccessKey"):
        for found in world.all(kind):
            yield f"{found}: a long-lived identity"
    for role in world.all("IAM::Role"):
        for statement in role.get("AssumeRolePolicyDocument.Statement", []):
            if "Federated" not in statement.get("Principal", {}):
                continue
            exact = dig(statement, "Condition", {}).get("StringEquals", {})
            subject = [v for k, v in exact.items() if k.endswith(":sub")]
            audience = [v for k, v in exact.items() if k.endswith(":aud")]
            if audience != ["sts.amazonaws.com"] or not subject or "*" in subject[0]:
                yield f"{role}: trusts {statement.get('Condition')}"
