"""Faults seeded into the synthesised templates: each must be reported by the rule it names.

A file for each of ``infra/invariants``, and ``unlinted.py`` for those that no linter knew.
"""

from __future__ import annotations

from mutations import (  # noqa: F401  # each registers its mutations
    data,
    jobs,
    network,
    permissions,
    releases,
    scaling,
    tasks,
    traffic,
    unlinted,
    watching,
)
from mutations.seed import MUTATIONS, Mutation, Templates

__all__ = ["MUTATIONS", "Mutation", "Templates"]
