"""Command `retrain`: a month's labels into a candidate, and people told what came of it.

    snapshot -> validate -> adapt -> export -> quantize -> evaluate -> gate -> (promote)

Edge: builds the snapshot, keeps the state of the run, and starts `python -m monitoring tell`,
because alerts are monitoring's. A run that was killed goes on at the step that it was at.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from capture.store import Store
from training import provenance, retrain_state, tracking
from training.adapting import AdaptConfig
from training.config import DataConfig, Workspace
from training.data.render import RenderConfig
from training.snapshots import building, checking, reading
from training.snapshots.checking import Checked
from training.snapshots.reading import MailSnapshot
from training.snapshots.validation import Limits, ValidationReport
from training.snapshots.validation_page import write_page
from training.steps import adapt, promote
from training.steps.files import (
    StepError,
    champion_sha256,
    load_fit,
    load_verdict,
    sha256,
)

logger = logging.getLogger(__name__)

STEPS = ("snapshot", "validate", "adapt", "export", "quantize", "evaluate", "gate", "promote")
_WATCH = 1  # severity of the event: a person should look in office hours


@dataclass(frozen=True, slots=True)
class RetrainConfig:
    """One month's retraining."""

    as_of: str  # month, 2026-11
    adapt: AdaptConfig
    rendering: RenderConfig
    stop_on_quarantine: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Where a retraining reads and writes."""

    archive: Store  # of captures
    data_store: Store
    data: DataConfig
    work: Workspace
    champion: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What people are told."""

    title: str
    details: tuple[str, ...]
    to_do: str
    severity: int
    link: str


def run(
    config: RetrainConfig,
    places: Places,
    chosen: Sequence[str],
    *,
    run_step: Callable[[str], bool],
) -> None:
    """Run the chosen steps; what is done already is not done again.

    Args:
        config: the month and the recipe.
        places: where to read and write.
        chosen: the first steps of STEPS.
        run_step: runs one of export to promote; False where the gate refuses.

    Raises:
        StepError, DataError, StoreError: a step cannot run; the state is kept.
    """
    promote.settle(places.champion)
    written = building.build(
        places.archive, places.data_store, config.as_of, git_commit=provenance.git_commit()
    )
    print(
        f"== snapshot: {written.version}, {written.num_train} crops to train on,"
        f" {written.num_test} in the test share",
        flush=True,
    )
    snapshot = reading.read(places.data_store, config.as_of)
    state = retrain_state.load(places.work.folder, _about(config, places, snapshot))
    if not config.force and (said := _nothing_to_do(state, snapshot, chosen)):
        print(said)
        _tell(places.work, Outcome("Retraining: nothing new", (said,), "Label mail.", _WATCH, ""))
        return
    if config.force and chosen[-1] in state.done:
        state = retrain_state.RetrainState(state.about)
    report = _validate(config, places).report
    for step in chosen[2:]:
        if step in state.done:
            print(f"== {step}: done at {state.done[step]}", flush=True)
            continue
        print(f"== {step}", flush=True)
        passed = True
        if step == "adapt":
            adapt.run(
                config.adapt, config.rendering, places.data, places.work, places.champion,
                snapshot, report, f"{places.data_store.url}/snapshots/{config.as_of}",
            )  # fmt: skip
        else:
            passed = run_step(step)
        if step == "gate":
            _tell(places.work, _outcome(places.work, report))
        state = retrain_state.mark(state, step, places.work.folder)
        if not passed:
            return  # people were told, and another attempt would end the same way


def _about(config: RetrainConfig, places: Places, snapshot: MailSnapshot) -> Mapping[str, str]:
    recipe = json.dumps([asdict(config.adapt), asdict(config.rendering)], sort_keys=True)
    return {
        "month": config.as_of,
        "data": snapshot.version,
        "champion": champion_sha256(places.champion) or "none",
        "recipe": sha256(recipe.encode()),
    }


def _nothing_to_do(
    state: retrain_state.RetrainState, snapshot: MailSnapshot, chosen: Sequence[str]
) -> str:
    """One sentence that says why nothing needs to be done; empty where something does."""
    if not len(snapshot.train):
        return f"{snapshot.version} has no crop to train on; `monitoring label` adds labels"
    if chosen[-1] in state.done:
        when = state.done[chosen[-1]]
        return f"{state.about['month']} was retrained at {when} (--force does it again)"
    if state.done:
        return ""  # a run that was killed
    tracking.connect()
    tags = adapt.data_tags(snapshot)
    earlier = tracking.find_gated_run("data.label_events", tags["data.label_events"])
    if earlier is None:
        return ""
    return f"no new label since run {earlier}, which reached the gate (--force trains again)"


def _validate(config: RetrainConfig, places: Places) -> Checked:
    """Judge the labels by the champion's reads, and write the page.

    Raises:
        StepError: nothing may be trained on.
    """
    limits = Limits(stop_on_quarantine=config.stop_on_quarantine)
    checked = checking.check(places.data_store, config.as_of, places.champion, limits)
    page = places.work.folder / "validation.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(write_page(checked), encoding="utf-8")
    print(f"== validate: {checked.report.verdict}; page: {page}", flush=True)
    for finding in checked.report.findings:
        print(f"   {finding.severity}: {finding.text}")
    if checked.report.is_refused:
        raise StepError(f"{checked.snapshot.version} is not trained on: see {page}")
    return checked


def _outcome(work: Workspace, report: ValidationReport) -> Outcome:
    verdict, _ = load_verdict(work)
    record = load_fit(work)
    mail = record.mail
    assert mail is not None, "adapt has written it"
    used = f"data {mail.data_version}: {mail.num_train} crops of {len(mail.sites)} sites"
    details = [
        f"{used}, {mail.num_test} in the test share",
        *(f"quarantined: {one}" for one in report.quarantined),
        *(str(reason) for reason in verdict.failures),
    ]
    if verdict.passed:
        title = "Retraining: the candidate passed the gate"
        to_do = "Read its report; promote it if you agree."
    else:
        title = "Retraining: the gate refused the candidate; the champion stays"
        to_do = "Read which limits it missed; label more crops of the digits that it confuses."
    return Outcome(title, tuple(details), to_do, _WATCH, tracking.page_of(record.run_id))


def _tell(work: Workspace, outcome: Outcome) -> None:
    """Notify people by the sinks of DIGITS_ALERTS; what a sink refuses waits in the outbox."""
    today = datetime.now(UTC).date().isoformat()
    event = {
        "topic": "retrain",
        **asdict(outcome),
        "details": list(outcome.details),
        "sites": [],
        "since": today,
        "window": today,
    }
    work.folder.mkdir(parents=True, exist_ok=True)
    path = work.folder / "outcome.json"
    path.write_text(json.dumps(event, indent=1) + "\n")
    _start_notification(path)


def _start_notification(event: Path) -> None:
    """Start `monitoring tell`; a failed notification does not fail the retraining."""
    subprocess.run([sys.executable, "-m", "monitoring", "tell", str(event)], check=False)
