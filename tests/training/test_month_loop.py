"""The month loop with steps that only write a file: done once, resumed, told."""

import hashlib
import json

import pytest

from training import month_loop, retrain_state
from training.month_loop import CALM, GATE, WATCH, Month, Outcome, Step

NAMES = ("fit", GATE, "promote")


class Killed(BaseException):
    """Ends a step as SIGKILL does: nothing after it runs."""


class Made:
    """A month whose steps note that they ran; `promote` makes the fitted file the champion."""

    def __init__(self, folder):
        self.folder, self.ran, self.told = folder, [], []
        self.passes, self.kill, self.fitted = True, "", b"fitted"
        self.champion = folder / "champion"

    def run(self, *, until="promote", month="2026-05", force=False):
        served = self.champion.read_bytes() if self.champion.exists() else b"first"
        steps = (
            Step("fit", lambda: self.step("fit"), (self.folder / "made" / "model.onnx",)),
            Step(GATE, lambda: self.step(GATE), (), self.tell_of_gate),
            Step("promote", lambda: self.step("promote"), (), lambda: self.outcome("served", CALM)),
        )
        about = {"month": month, "champion": hashlib.sha256(served).hexdigest()}
        month_loop.run(
            Month(
                about,
                until=until,
                steps=steps[: NAMES.index(until) + 1],
                passed=lambda: self.passes,
                nothing_new=lambda _: None,
                check=lambda: None,
            ),
            self.folder,
            tell=lambda event: self.told.append(json.loads(event.read_text())["title"]),
            force=force,
        )

    def step(self, name):
        self.ran.append(name)
        made = self.folder / "made" / "model.onnx"
        if name == "fit":
            made.parent.mkdir(exist_ok=True)
            made.write_bytes(self.fitted)
        if name == "promote":
            self.champion.write_bytes(made.read_bytes())
        if name == self.kill:
            raise Killed
        return self.passes or name != GATE

    def tell_of_gate(self):
        return None if self.passes else self.outcome("refused", WATCH)

    def outcome(self, title, severity):
        return Outcome(title, (), "", severity, "")


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def test_each_step_runs_once_and_people_are_told_once(made, capsys):
    made.run()
    made.run()
    assert made.ran == list(NAMES)
    assert made.told == ["served"]
    assert "its candidate is the champion" in capsys.readouterr().out


def test_a_killed_step_is_done_again_and_those_before_it_are_not(made):
    made.kill = GATE
    with pytest.raises(Killed):
        made.run()
    made.kill = ""
    made.run()
    assert made.ran == ["fit", GATE, GATE, "promote"]
    assert made.told == ["served"]


def test_a_kill_after_the_champion_was_exchanged_promotes_once_and_is_told(made):
    made.kill = "promote"
    with pytest.raises(Killed):
        made.run()
    assert made.told == []
    made.run()
    made.run()
    assert made.ran == list(NAMES)
    assert made.told == ["served"]


def test_a_refusal_ends_the_month_and_is_told_once(made, capsys):
    made.passes = False
    made.run()
    made.run()
    assert made.ran == ["fit", GATE]
    assert made.told == ["refused"]
    assert "the gate refused it" in capsys.readouterr().out


def test_a_dry_run_changes_no_champion_and_the_rest_can_follow(made):
    made.run(until=GATE)
    assert not made.champion.exists()
    made.run()
    assert made.ran == list(NAMES)


def test_a_file_that_another_program_changed_is_made_again(made):
    made.run(until=GATE)
    (made.folder / "made" / "model.onnx").write_bytes(b"of another fit")
    made.run(until=GATE)
    assert made.ran == ["fit", GATE, "fit", GATE]


def test_another_month_begins_anew_and_so_does_a_forced_one(made):
    made.run()
    made.run(month="2026-06")
    assert made.ran == [*NAMES, *NAMES]
    made.run(month="2026-06", force=True)
    assert made.ran == [*NAMES, *NAMES, *NAMES]


def test_a_kill_in_the_month_after_a_promoted_one_is_resumed(made):
    made.run()
    made.kill, made.ran, made.fitted = GATE, [], b"fitted in June"
    with pytest.raises(Killed):
        made.run(month="2026-06")
    made.kill = ""
    made.run(month="2026-06")
    assert made.ran == ["fit", GATE, GATE, "promote"]


def test_a_state_that_is_damaged_begins_anew(made):
    made.run(until=GATE)
    (made.folder / retrain_state.NAME).write_text("{")
    made.run(until=GATE)
    assert made.ran == ["fit", GATE, "fit", GATE]
