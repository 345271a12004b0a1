"""IAM permissions."""

from __future__ import annotations

from collections.abc import Iterator

from infra.invariants.rule import must_hold
from infra.world import World, dig


@must_hold(
    "https://docs.github.com/en/actions/how-tos/secure-your-work/security-harden-deployments/oidc-in-aws"
)
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
