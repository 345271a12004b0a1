"""A rule: a function over one environment's World that yields the violations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from infra.world import World

Rule = Callable[[World], Iterator[str]]
RULES: list[Rule] = []  # in the order of the modules, and in each from top to bottom


def must_hold(function: Rule) -> Rule:
    """Register a rule."""
    RULES.append(function)
    return function
