"""docs/operations.md describes every alarm of the templates, and no other."""

from __future__ import annotations

import re

from infra.alarm import RUNBOOK_FILE
from infra.runbook import Entry, entries
from infra.settings import REPOSITORY_ROOT
from infra.world import Resource, World

TEXT = (REPOSITORY_ROOT / RUNBOOK_FILE).read_text()
ENTRIES = {entry.name: entry for entry in entries(TEXT)}


def alarms(world: World) -> dict[str, Resource]:
    return {
        str(alarm.get("AlarmName")).removeprefix("digitline-prod-"): alarm
        for alarm in world.all("CloudWatch::Alarm")
    }


def told(alarm: Resource, world: World) -> str:
    topics = [world.at(action) for action in alarm.get("AlarmActions")]
    names = [str(one.get("TopicName")) for one in topics if one and one.type == "AWS::SNS::Topic"]
    return " and ".join(name.removeprefix("digitline-prod-") for name in names) or "nobody"


def test_every_alarm_is_described_and_nothing_else(worlds: dict[str, World]) -> None:
    assert sorted(ENTRIES) == sorted(alarms(worlds["prod"]))


def test_each_alarm_tells_whom_the_page_says(worlds: dict[str, World]) -> None:
    world = worlds["prod"]
    found = {name: told(alarm, world) for name, alarm in alarms(world).items()}
    assert found == {name: entry.tells for name, entry in ENTRIES.items()}


def test_each_alarm_has_a_meaning_a_first_look_and_a_fix() -> None:
    assert not [one.name for one in ENTRIES.values() if not (one.means and one.look and one.fix)]


def test_a_row_refers_to_alarms_that_exist() -> None:
    for entry in ENTRIES.values():
        for name in re.findall(r"(?<!\*)\*([a-z]+-[a-z-]+|p99|shed|capture)\*(?!\*)", entry.fix):
            assert name in ENTRIES, f"{entry.name}: {name}"


def test_what_reaches_people_goes_to_one_topic_each_time(worlds: dict[str, World]) -> None:
    """An event that raises an alarm is not mailed beside it."""
    world = worlds["prod"]
    watched = {
        dimension["Value"]
        for alarm in world.all("CloudWatch::Alarm")
        for dimension in alarm.get("Dimensions", [])
        if dimension["Name"] == "RuleName"
    }
    assert watched
    for rule in (world.at(reference) for reference in watched):
        assert rule is not None
        targets = [world.at(target["Arn"]) for target in rule.get("Targets")]
        assert [one.type for one in targets if one] == ["AWS::SQS::Queue"]


def test_an_entry_is_a_row_of_a_table() -> None:
    row = '| <a id="alarm-shed"></a>shed | page | `a` means | look | fix it |'
    assert entries(row) == (Entry("shed", "page", "`a` means", "look", "fix it"),)
