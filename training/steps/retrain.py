"""Command `retrain`: a month's labels into a candidate, and people told what came of it.

    snapshot -> validate -> adapt -> export -> quantize -> evaluate -> gate -> (promote)

Edge: builds the snapshot, writes the page of its validation; `training/month_loop.py` runs the
steps.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from capture.snapshot_erasure import RETRAIN_DUE
from capture.snapshot_files import months
from capture.store import Store
from training import month_loop, provenance, tracking
from training.adapting import AdaptConfig
from training.config import DataConfig, Workspace
from training.data.render import RenderConfig
from training.month_loop import Month, Outcome, Step
from training.month_loop import start_notification as _start_notification
from training.retrain_state import RetrainState
from training.snapshots import building, checking, reading
from training.snapshots.checking import Checked
from training.snapshots.reading import MailSnapshot
from training.snapshots.validation import Limits, ValidationReport
from training.snapshots.validation_page import write_page
from training.step_error import StepError
from training.steps import adapt, promote
from training.steps.files import (
    champion_sha256,
    load_fit,
    load_verdict,
    sha256,
)

STEPS = ("snapshot", "validate", "adapt", "export", "quantize", "evaluate", "gate", "promote")


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
    snapshot = _snapshot(config, places)
    checked = functools.cache(lambda: _validate(config, places))

    def adapt_champion() -> bool:
        adapt.run(
            config.adapt, config.rendering, places.data, places.work, places.champion,
            snapshot, checked().report, f"{places.data_store.url}/snapshots/{config.as_of}",
        )  # fmt: skip
        return True

    runs = {"adapt": adapt_champion} | {
        step: partial(run_step, step) for step in STEPS[STEPS.index("adapt") + 1 :]
    }
    outcomes = {"gate": lambda: _outcome(places.work, checked().report)}
    wrote = _files_of(places.work)
    month = Month(
        about=_about(config, places, snapshot),
        until=chosen[-1],
        steps=tuple(
            Step(name, runs[name], wrote.get(name, ()), outcomes.get(name))
            for name in chosen
            if name in runs
        ),
        passed=lambda: load_verdict(places.work)[0].passed,
        nothing_new=lambda state: _nothing_new(state, snapshot, places),
        check=checked,
    )
    month_loop.run(month, places.work.folder, tell=_start_notification, force=config.force)


def _snapshot(config: RetrainConfig, places: Places) -> MailSnapshot:
    """The month's snapshot, built where it is missing.

    One that is there is not built again: labels that were shipped since are in the next month's,
    and must not stop a run that goes on.
    """
    if config.as_of not in months(places.data_store):
        building.build(
            places.archive, places.data_store, config.as_of, git_commit=provenance.git_commit()
        )
    snapshot = reading.read(places.data_store, config.as_of)
    print(
        f"== snapshot: {snapshot.version}, {len(snapshot.train)} crops to train on,"
        f" {len(snapshot.test)} in the test share",
        flush=True,
    )
    return snapshot


def _files_of(work: Workspace) -> Mapping[str, tuple[Path, ...]]:
    """What each step writes for the later ones."""
    return {
        "adapt": (work.weights, work.fit, work.mail),
        "export": (work.fp32,),
        "quantize": (work.int8,),
        "evaluate": (work.evaluation, work.report, work.predictions),
        "gate": (work.verdict,),
    }


def _about(config: RetrainConfig, places: Places, snapshot: MailSnapshot) -> Mapping[str, str]:
    recipe = json.dumps([asdict(config.adapt), asdict(config.rendering)], sort_keys=True)
    return {
        "month": config.as_of,
        "data": snapshot.version,
        "champion": champion_sha256(places.champion) or "none",
        "recipe": sha256(recipe.encode()),
    }


def _nothing_new(state: RetrainState, snapshot: MailSnapshot, places: Places) -> Outcome | None:
    """What to tell where there is nothing to train on."""

    def nothing(why: str) -> Outcome:
        return Outcome("Retraining: nothing new", (why,), "Label mail.", month_loop.WATCH, "")

    if not len(snapshot.train):
        return nothing(
            f"{snapshot.version} has no crop to train on; `monitoring label` adds labels"
        )
    if state.done or (places.champion / RETRAIN_DUE).exists():
        return None  # a run that was killed, or a champion that saw what has been erased
    tracking.connect()
    earlier = tracking.find_gated_run(adapt.LABELS_TAG, adapt.data_tags(snapshot)[adapt.LABELS_TAG])
    if earlier is None:
        return None
    return nothing(
        f"no new label since run {earlier}, which reached the gate (--force trains again)"
    )


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
    return Outcome(title, tuple(details), to_do, month_loop.WATCH, tracking.page_of(record.run_id))
