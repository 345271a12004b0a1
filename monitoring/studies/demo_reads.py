"""Reads the demo's letters, site by site, as the service would: answered, judged, held, captured.

The answers are the model's own. Days before today go straight to the archive, as the shipper would
write them; today's records go to the spool. Each site is read in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import signal
from array import array
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from capture.archive import PARQUET, encode
from capture.audit_sample import audit_probability
from capture.record import CaptureRecord
from capture.rows import rows_by_partition
from capture.site_states import Change, SiteState, SiteStates, learn
from capture.spool import Spool
from capture.store import open_store
from model import artifact
from monitoring.studies import demo_mail
from monitoring.studies.champion_reader import Reader, Sent, expected_reject_share
from monitoring.studies.demo_mail import Letter
from monitoring.studies.demo_places import AUDIT_FRAC
from serving.messages import Reading
from serving.reading import site_signals
from serving.reading.change_test import LOOK_FROM
from serving.reading.site_judge import SiteJudge

SITES_FOLDER: Final = "sites"  # in the spool, where the service keeps the states of sites
_BATCH: Final = 20  # letters between two looks of the breaker
_NUM_PROCESSES: Final = 2


@dataclass(frozen=True, slots=True)
class MonthPlan:
    """What is read, and where it goes."""

    glyphs: Path  # folder of the digits
    champion: Path
    former: Path  # folder of the champion before
    spool: Path
    captures: str
    now: datetime
    num_days: int  # before today
    former_days: int  # of these, read by the champion before
    letters_a_day: int  # of each site


@dataclass(frozen=True, slots=True)
class Answered:
    """A crop that was read, with its truth: what the keyers of the demo see."""

    read_id: str
    index: int
    site: str
    time_us: int
    back: int  # days before today
    truth: str
    accepted: bool
    is_marked: bool  # for the audit


def read_month(plan: MonthPlan) -> list[Answered]:
    """Read every site's letters; returns all crops, site by site, oldest first."""
    context = multiprocessing.get_context("spawn")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the workers
    started = context.Pool(_NUM_PROCESSES)
    signal.signal(signal.SIGINT, before)
    with started as pool:
        parts = pool.starmap(_read_site, [(plan, site) for site in demo_mail.SITES], chunksize=1)
    return [one for part in parts for one in part]


def _read_site(plan: MonthPlan, site: str) -> list[Answered]:
    glyphs = demo_mail.load_glyphs(plan.glyphs)
    desk = _Desk(plan, site)
    answered: list[Answered] = []
    for back in range(plan.num_days, -1, -1):
        if back == plan.num_days - plan.former_days:
            desk.change_model(plan.champion)
        letters = demo_mail.letters_of(
            site,
            (plan.now - timedelta(days=back)).date(),
            back=back,
            num=plan.letters_a_day,
            now=plan.now,
            glyphs=glyphs,
        )
        if back == 0:
            desk.hold_if_alarmed(letters[0].time_us)
        records = desk.read(letters)
        _store(plan, records, is_today=back == 0)
        truth = [label for letter in letters for label in letter.truth]
        answered += [
            Answered(
                one.read_id, one.index, site, one.time_us, back, label, one.accepted,
                one.audit_probability > 0,
            )
            for one, label in zip(records, truth, strict=True)
        ]  # fmt: skip
    SiteStates(plan.spool / SITES_FOLDER).merge_in([desk.state])
    return answered


def _store(plan: MonthPlan, records: list[CaptureRecord], *, is_today: bool) -> None:
    if is_today:
        spool = Spool(plan.spool)
        spool.append_frames([spool.frame(record) for record in records])
        spool.close()
        return
    tables, refused = rows_by_partition(records)
    assert not refused, refused
    for folder, table in tables.items():
        key = f"{folder}/{records[0].read_id}.parquet"
        open_store(plan.captures).put(key, encode(table), content_type=PARQUET)


class _Desk:
    """Reads one site's letters with the model in force, and watches the site."""

    def __init__(self, plan: MonthPlan, site: str) -> None:
        former = artifact.load(plan.former)
        self._reader = Reader(former)
        self._is_judging = False  # the sites have no history before the month
        self._num_noted = 0
        self._rng = np.random.default_rng(demo_mail.SITES.index(site))
        self._judge = SiteJudge(
            SiteState(site),
            model_version=former.version,
            expected_reject_share=expected_reject_share(former),
            may_hold=False,  # until today; see hold_if_alarmed
        )

    @property
    def state(self) -> SiteState:
        """What is known of the site."""
        return self._judge.state

    def change_model(self, champion: Path) -> None:
        """Go on with another model."""
        loaded = artifact.load(champion)
        self._reader = Reader(loaded)
        self._is_judging = True
        self._judge.change_model(loaded.version, expected_reject_share(loaded))

    def hold_if_alarmed(self, now_us: int) -> None:
        """Put the site on hold if it has tripped, as where DIGITS_SITE_BREAKER becomes `hold`."""
        incident = self.state.incident
        if incident is not None and incident.status == "alert":
            held = replace(incident, status="hold", changed_us=now_us, since_us=now_us)
            self._judge.adopt(replace(self.state, incident=held))

    def read(self, letters: list[Letter]) -> list[CaptureRecord]:
        """The records of some letters, in order."""
        readings = iter(self._reader.answer([crop for one in letters for crop in one.crops]))
        records = []
        for start in range(0, len(letters), _BATCH):
            batch = letters[start : start + _BATCH]
            noted = [(letter, [next(readings) for _ in letter.crops]) for letter in batch]
            is_held = self.state.status == "hold"
            for letter, of_letter in noted:
                records += self._records(letter, of_letter, is_held=is_held)
            self._watch([one for _, some in noted for one in some], batch[-1].time_us)
        return records

    def _records(
        self, letter: Letter, readings: list[Reading], *, is_held: bool
    ) -> list[CaptureRecord]:
        records = []
        for index, reading in enumerate(readings):
            decision = reading.decision
            if is_held:
                reading = reading._replace(  # noqa: PLW2901
                    decision=decision._replace(rejected_because="site_on_hold")
                )
            sent = Sent(
                letter.read_id, letter.request_id, index, letter.time_us, letter.site,
                letter.deadline_us,
            )  # fmt: skip
            queue_ms = float(self._rng.gamma(2, 0.4))
            record = self._reader.record(reading, sent, queue_ms=queue_ms)
            if record.accepted:
                record.audit_probability = audit_probability(
                    letter.read_id, index, audit_frac=AUDIT_FRAC, capture_frac=1.0
                )
            records.append(record)
        return records

    def _watch(self, readings: list[Reading], time_us: int) -> None:
        """Judge the reads as the service's site watch does."""
        notes = array("d")
        is_alarmed = self._judge.test.level >= LOOK_FROM
        for reading in readings:
            look = is_alarmed or self._num_noted % site_signals.LOOK_EVERY == 0
            self._num_noted += 1
            site_signals.note(notes, reading, look=look)
        signals = site_signals.to_signals(notes, self._reader.policy)
        if not self._is_judging:
            version, means = self._reader.version, site_signals.means_of(signals)
            change = Change(self.state.site, version, len(signals), means, None)
            self._judge.adopt(learn(self.state, change))
            return
        incident = self._judge.add(signals, time_us)
        change = self._judge.take_learned(incident)
        state = learn(self.state, change)
        if incident is not None:
            state = replace(state, incident=incident)
        self._judge.adopt(state)
