"""Every rule holds, and every rule reports at least one seeded fault."""

from __future__ import annotations

import copy

import pytest
from conftest import NAMES
from mutations import MUTATIONS, Mutation, Templates

from infra import invariants
from infra.world import Template, World

killed: set[str] = set()  # faults reported in this run; conftest.py prints the score


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_holds(worlds: dict[str, World], name: str) -> None:
    assert [str(violation) for violation in invariants.check(worlds[name])] == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_the_rule_reports_the_seeded_fault(
    synthesised: dict[str, dict[str, Template]], mutation: Mutation
) -> None:
    templates = copy.deepcopy(synthesised["prod"])
    mutation.change(Templates(templates))
    assert templates != synthesised["prod"], "the mutation changed nothing"
    before = invariants.check(World(synthesised["prod"]))
    after = invariants.check(World(templates))
    reported = {violation.rule for violation in after if violation not in before}
    assert mutation.rule in reported
    killed.add(mutation.name)


def test_every_rule_has_a_seeded_fault() -> None:
    rules = {rule.__name__ for rule in invariants.RULES}
    assert rules - {mutation.rule for mutation in MUTATIONS} == set()
    assert {mutation.rule for mutation in MUTATIONS} - rules == set()
