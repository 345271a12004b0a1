"""Every rule holds, and every rule reports at least one seeded fault."""

from __future__ import annotations

import re

import pytest
from conftest import NAMES
from mutations import MUTATIONS, Mutation

from infra import invariants
from infra.invariants.rule import Rule
from infra.world import Template, World

killed: set[str] = set()  # faults reported in this run; conftest.py prints the score


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_holds(worlds: dict[str, World], name: str) -> None:
    assert [str(violation) for violation in invariants.check(worlds[name])] == []


@pytest.mark.parametrize("mutation", [m for m in MUTATIONS if not m.linter], ids=str)
def test_the_rule_reports_the_seeded_fault(
    synthesised: dict[str, dict[str, Template]], mutation: Mutation
) -> None:
    before = invariants.check(World(synthesised["prod"]))
    after = invariants.check(World(mutation.changed(synthesised["prod"])))
    reported = {violation.rule for violation in after if violation not in before}
    assert mutation.rule in reported
    killed.add(mutation.name)


def test_every_rule_has_a_seeded_fault() -> None:
    rules = {rule.name for rule in invariants.RULES}
    seeded = {mutation.rule for mutation in MUTATIONS if not mutation.linter}
    assert rules == seeded


@pytest.mark.parametrize("rule", invariants.RULES, ids=lambda rule: rule.name)
def test_every_rule_names_the_document_that_it_stands_on(rule: Rule) -> None:
    """AWS's or MLflow's documentation, GitHub's, or a public thread there."""
    documents = r"docs\.aws\.amazon\.com/.+\.html|docs\.github\.com/en/.+|mlflow\.org/docs/.+"
    threads = r"github\.com/[\w-]+/[\w-]+/issues/\d+"
    assert re.fullmatch(rf"https://({documents}|{threads})", rule.source)
