"""Faults in the synthesised templates: the rule that each names must report it.

One module for each module of ``infra/invariants``, and ``unlinted.py`` for faults that no linter
reports.
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
