"""A rule: a function over one environment's World that yields the violations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.world import World

Check = Callable[[World], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold, and the document or public thread with the fact that it stands on."""

    name: str
    check: Check
    source: str


RULES: list[Rule] = []  # in the order of the modules, and in each from top to bottom


def must_hold(source: str) -> Callable[[Check], Check]:
    """Register a rule.

    Args:
        source: address of the document.
    """

    def register(check: Check) -> Check:
        RULES.append(Rule(check.__name__, check, source))
        return check

    return register
