"""The documents say what is deployed: numbers, links, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra import settings
from infra.__main__ import DOCUMENT, with_bill
from infra.app import PROD

ARCHITECTURE = settings.REPOSITORY_ROOT / "docs" / "architecture.md"


def test_the_bill_in_the_document_is_what_the_command_prints() -> None:
    document = DOCUMENT.read_text()
    assert document == with_bill(document), "run `python -m infra snapshot`"


@pytest.mark.parametrize("file", [DOCUMENT, ARCHITECTURE], ids=lambda file: file.name)
def test_every_relative_link_leads_somewhere(file: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text())
    assert links
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_every_fact_that_the_templates_read_is_in_the_document() -> None:
    snapshots = settings.REPOSITORY_ROOT / "infra" / "snapshots" / PROD.name
    text = "".join(file.read_text() for file in snapshots.glob("*.json"))
    facts = set(re.findall(rf'"/digitline/{PROD.name}/([a-z-]+)"', text))
    assert len(facts) == 6
    told = set(re.findall(r"fact ([a-z-]+)", DOCUMENT.read_text()))
    assert facts <= told


def test_the_documents_numbers_are_the_settings() -> None:
    text = " ".join((DOCUMENT.read_text() + ARCHITECTURE.read_text()).split())
    for promised in (
        f"{settings.CANARY_PERCENT:g} % of the requests for five minutes",
        f"keeps connections {settings.KEEP_ALIVE_S} s, the load balancer {settings.ALB_IDLE_S} s",
        f"{settings.DRAIN_S} s of drain, {settings.DEREGISTRATION_S} s of deregistration",
        f"killed after {settings.STOP_TIMEOUT_S} s",
        f"more than {100 * settings.ALARM_REJECT_FRAC:g} % of crops are refused",
        f"after {settings.STUCK_DEPLOYMENT_MIN} minutes",
        f"no report for {settings.DRIFT_SILENCE_H} hours",
        f"the last {settings.NUM_IMAGES_KEPT} images are kept",
    ):
        assert promised in text
