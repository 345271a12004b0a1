"""A month's retraining of any model: each step done once, people told, and a killed run resumed.

Edge: keeps the state of the run beside the candidate's files, and starts `python -m monitoring
tell`, because alerts are monitoring's. Knows nothing about what is fitted, on what, and what the
gate compares: the caller hands in the steps.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from training import retrain_state
from training.retrain_state import RetrainState

GATE: Final = "gate"  # the step whose refusal ends the month
WATCH: Final = 1  # severity of an event: a person should look in office hours
CALM: Final = 0  # nothing to do


@dataclass(frozen=True, slots=True)
class Outcome:
    """What people are told."""

    title: str
    details: tuple[str, ...]
    to_do: str
    severity: int
    link: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a month; it reads and writes files of the run's folder."""

    name: str
    run: Callable[[], bool]  # False: the gate refuses, and no step follows
    wrote: tuple[Path, ...] = ()  # what later steps read
    outcome: Callable[[], Outcome | None] | None = None  # what people are told after it


@dataclass(frozen=True, slots=True)
class Month:
    """One month's retraining."""

    about: Mapping[str, str]  # month, data version, sha256 of the champion, recipe
    until: str  # the last step that is wanted
    steps: tuple[Step, ...]  # those that are kept as done, in their order; none after `until`
    passed: Callable[[], bool]  # the gate's verdict, once it was reached
    nothing_new: Callable[[RetrainState], Outcome | None]  # why there is nothing to train on
    check: Callable[[], object]  # raises where the data must not be trained on


def run(month: Month, folder: Path, *, tell: Callable[[Path], None], force: bool = False) -> None:
    """Run the steps; what is done already is not done again.

    Args:
        month: what to do.
        folder: of the state and of the candidate's files.
        tell: sends the event that a JSON file holds, as `start_notification` does.
        force: do a month again that is done.

    Raises:
        Whatever a step raises; the state is kept, and the next run goes on at that step.
    """
    state = retrain_state.load(folder, month.about)
    if force:
        state = RetrainState(state.about) if month.until in state.done else state
    else:
        state = _end_what_is_served(month, state, folder, tell)
        if _is_over(month, state, folder, tell):
            return
    month.check()
    for step in month.steps:
        if step.name in state.done:
            print(f"== {step.name}: done at {state.done[step.name]}", flush=True)
            continue
        print(f"== {step.name}", flush=True)
        passed = step.run()
        state = _end(step, state, folder, tell)
        if not passed:
            return  # people were told, and another attempt would end the same way


def _end_what_is_served(
    month: Month, state: RetrainState, folder: Path, tell: Callable[[Path], None]
) -> RetrainState:
    """End the step that was killed after it had made the candidate the champion."""
    if _is_served(month, state):
        for step in month.steps:
            if step.name not in state.done:
                state = _end(step, state, folder, tell)
    return state


def _is_over(month: Month, state: RetrainState, folder: Path, tell: Callable[[Path], None]) -> bool:
    """Whether no step is left, or nothing to train on; it is printed which."""
    if said := _done_before(month, state):
        print(said)
        return True
    if nothing := month.nothing_new(state):
        print(*nothing.details)
        _send(nothing, folder, tell)
        return True
    return False


def _is_served(month: Month, state: RetrainState) -> bool:
    return GATE in state.done and retrain_state.is_candidate(state, month.about["champion"])


def _done_before(month: Month, state: RetrainState) -> str:
    """What was done and when; empty where a step is left."""
    as_of, gated = state.about["month"], state.done.get(GATE)
    if _is_served(month, state):
        return f"{as_of} was retrained at {gated}, and its candidate is the champion (--force)"
    if gated and not month.passed():
        return f"{as_of} was retrained at {gated}; the gate refused it (--force does it again)"
    if month.until not in state.done:
        return ""
    return f"{as_of} was retrained at {state.done[month.until]} (--force does it again)"


def _end(
    step: Step, state: RetrainState, folder: Path, tell: Callable[[Path], None]
) -> RetrainState:
    """Tell people, then write that the step is done: a kill between both tells them twice."""
    if step.outcome is not None and (outcome := step.outcome()) is not None:
        _send(outcome, folder, tell)
    return retrain_state.mark(state, step.name, folder, wrote=step.wrote)


def _send(outcome: Outcome, folder: Path, tell: Callable[[Path], None]) -> None:
    today = datetime.now(UTC).date().isoformat()
    event = {
        "topic": "retrain",
        **asdict(outcome),
        "details": list(outcome.details),
        "sites": [],
        "since": today,
        "window": today,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "outcome.json"
    path.write_text(json.dumps(event, indent=1) + "\n")
    tell(path)


def start_notification(event: Path, *arguments: str) -> None:
    """Notify people by the sinks of DIGITS_ALERTS; what a sink refuses waits in the outbox.

    A failed notification does not fail the retraining.
    """
    command = [sys.executable, "-m", "monitoring", "tell", str(event), *arguments]
    subprocess.run(command, check=False)
