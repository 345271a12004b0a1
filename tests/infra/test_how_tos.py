"""The three short how-tos of docs/deploy.md, followed to the letter in one environment."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace

import pytest

from infra import app, invariants, settings, watch_stack, world
from infra.__main__ import DOCUMENT
from infra.settings import Environment, TaskSize
from infra.watch_stack import Watch
from infra.world import Template, World


def code_under(heading: str) -> str:
    """The Python block of a how-to."""
    section = DOCUMENT.read_text().partition(f"### {heading}\n")[2].partition("\n### ")[0]
    (code,) = re.findall(r"^ +```python\n(.*?)^ +```$", section, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(code)


def leeds() -> Environment:
    names = {**vars(app)}
    exec(code_under("Add an environment"), names)
    found = names["LEEDS"]
    assert isinstance(found, Environment)
    return found


def task_size() -> TaskSize:
    names = {**vars(settings)}
    exec(code_under("Change a task's size"), names)  # `task=...` assigns as well
    found = names["task"]
    assert isinstance(found, TaskSize)
    return found


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """The templates of the new environment, with the new size and the new alarm."""
    folder = tmp_path_factory.mktemp("followed")
    original = Watch._service_alarms

    def with_another(self: Watch) -> None:
        original(self)
        exec(code_under("Add an alarm"), {**vars(watch_stack), "self": self})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "ENVIRONMENTS", (replace(leeds(), task=task_size()),))
        patch.setattr(Watch, "_service_alarms", with_another)
        app.build(str(folder)).synth()
    return world.read(folder / "assembly-leeds")


def test_the_new_environment_has_its_stacks_in_its_region(followed: dict[str, Template]) -> None:
    assert len(followed) == 6
    assert leeds().region == "eu-west-2"
    assert leeds().cidr not in {one.cidr for one in app.ENVIRONMENTS}
    assert "digitline-leeds-shed" in {
        alarm.get("AlarmName") for alarm in World(followed).all("CloudWatch::Alarm")
    }


def test_the_service_has_the_new_size(followed: dict[str, Template]) -> None:
    size = task_size()
    sizes = [
        (int(task.get("Cpu")), int(task.get("Memory")))
        for task in World(followed).all("ECS::TaskDefinition")
    ]
    assert (size.cpu_units, size.memory_mib) in sizes
    assert size != leeds().task


def test_only_the_new_alarms_row_is_missing(followed: dict[str, Template]) -> None:
    """Every other rule holds: of the environment, the size and the alarm."""
    (violation,) = invariants.check(World(followed))
    assert "no runbook section at #alarm-in-flight" in str(violation)


@pytest.mark.parametrize(
    ("file", "line"),
    [("app.py", "task=TaskSize("), ("watch_stack.py", "def _service_alarms(")],
)
def test_the_place_to_change_exists(file: str, line: str) -> None:
    assert line in (settings.REPOSITORY_ROOT / "infra" / file).read_text()
