"""The game day: failures, the alarms that ring, and what ends them."""

from __future__ import annotations

import copy
import json

import pytest

from infra import drill, drill_repairs, runbook
from infra.__main__ import main
from infra.drill import DRILLS, Drill
from infra.drill_failures import DAY_MIN, healthy
from infra.world import World

NAMES = [one.name for one in DRILLS]
TEMPLATES = {file.stem: json.loads(file.read_text()) for file in drill.SNAPSHOTS.glob("*.json")}


@pytest.fixture(scope="module")
def world() -> World:
    return drill.read_world()


def rung(world: World, one: Drill) -> list[drill.Ring]:
    return drill.rings(world, one.failure, until_min=one.until_min)


def with_alarm(ending: str, **changes: object) -> World:
    templates = copy.deepcopy(TEMPLATES)
    (alarm,) = (
        body["Properties"]
        for template in templates.values()
        for body in template["Resources"].values()
        if str(body.get("Properties", {}).get("AlarmName")).endswith(f"-{ending}")
    )
    alarm |= changes
    return World(templates)


def test_the_page_holds_the_table_that_the_command_prints(world: World) -> None:
    text = drill.RUNBOOK.read_text()
    assert text == drill.renewed(text, world), "run `python -m infra snapshot`"


def test_no_alarm_rings_on_two_healthy_days(world: World) -> None:
    assert drill.rings(world, healthy, until_min=2 * DAY_MIN) == []


@pytest.mark.parametrize("one", DRILLS, ids=NAMES)
def test_a_failure_is_ended_by_the_row_of_an_alarm_that_it_rings(world: World, one: Drill) -> None:
    names = {ring.name for ring in rung(world, one)}
    assert one.ended_by in names or (one.ended_by is None and names == set())


def test_a_total_outage_pages_within_five_minutes(world: World) -> None:
    first = rung(world, DRILLS[0])[0]
    assert first.tells == "page"
    assert first.after_s <= 300


@pytest.mark.parametrize(
    ("name", "ending", "changes"),
    [
        ("bucket-denied", "capture", {"Threshold": 2 * 2**30}),
        ("key-leaked", "keys-stale", {"Threshold": 86_400}),
        ("database-gone", "retrain", {"Threshold": 1}),
        ("bad-image", "task-start-impaired", {"AlarmActions": ["arn:aws:sns:::nobody"]}),
        ("zone-lost", "unhealthy", {"DatapointsToAlarm": 3}),
    ],
)
def test_the_drill_evaluates_the_templates_alarm(
    world: World, name: str, ending: str, changes: dict[str, object]
) -> None:
    one = DRILLS[NAMES.index(name)]
    assert ending in {ring.name for ring in rung(world, one)}
    assert ending not in {ring.name for ring in rung(with_alarm(ending, **changes), one)}


def test_a_template_whose_tasks_may_not_write_repairs_nothing() -> None:
    text = json.dumps(TEMPLATES).replace('"s3:PutObject"', '"s3:PutObjectTagging"')
    assert drill_repairs.allow_writing(World(json.loads(text))).endswith("policy refused")


def test_an_alarm_on_a_metric_that_no_failure_knows_is_an_error() -> None:
    world = with_alarm("capture", MetricName="Backlog")
    with pytest.raises(KeyError, match="no failure says what Backlog is"):
        rung(world, DRILLS[0])


def test_the_command_prints_the_alarms_and_the_runbooks_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["drill", "key-leaked"]) == 0
    printed = capsys.readouterr().out
    fixes = {entry.name: entry.fix for entry in runbook.entries(drill.RUNBOOK.read_text())}
    assert "keys-stale 240 s (ticket)" in printed
    assert fixes["keys-stale"] in printed
    assert "berlin-1 is left of 2 keys" in printed
