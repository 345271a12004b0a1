"""Rules across the templates that no linter checks.

Each rule is a function over one environment's :class:`World` that yields one sentence for each
violation; ``check`` runs all rules. At least one mutation in ``tests/infra/mutations`` proves each
rule: a fault in a copy of the templates that the rule must report.

What cfn-lint, checkov or cdk-nag report is no rule here: ``make infra-test`` runs all three.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.invariants import (  # noqa: F401  # each registers its rules
    data_rules,
    job_rules,
    network_rules,
    permission_rules,
    release_rules,
    scaling_rules,
    task_rules,
    traffic_rules,
    watching_rules,
)
from infra.invariants.rule import RULES
from infra.world import World

__all__ = ["RULES", "Violation", "check"]


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule and the place."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def check(world: World) -> list[Violation]:
    """Run every rule."""
    return [Violation(rule.name, what) for rule in RULES for what in rule.check(world)]
