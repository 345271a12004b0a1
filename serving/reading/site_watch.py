"""Watches every site's reads: notes them after their answer, judges them, keeps sites on hold.

`note` and `tick` run on the event loop, off the path of a request; files are read and written on a
thread. The judgement is `site_judge`'s, the shared states are `capture.site_states`'.
"""

import asyncio
import contextlib
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog

from capture.site_states import Change, Incident, SiteState, SiteStates, released
from serving.messages import Reading
from serving.reading import site_signals as signal
from serving.reading.change_test import LOOK_FROM
from serving.reading.site_judge import SiteJudge
from serving.served_model import ServedModel

EXCHANGE_S: Final = 15.0  # another process's hold arrives within it
JUDGED_READS: Final = 16  # fewer reads of a site wait until they are a second old
JUDGED_S: Final = 1.0
_MOST_SITES_A_TICK: Final = 20  # bounds the time that a tick takes
_NONE: Final[Mapping[str, None]] = {}
log = structlog.get_logger()


class SiteWatch:
    """The sites' judges in one process.

    Args:
        states: shared with other processes.
        model: the champion; its policy tells which reads it rejects.
        may_hold: False: sites that trip are only reported. A person's hold counts in any case.
        on_change: called with a changed state, and whether this process changed it.
    """

    def __init__(
        self,
        states: SiteStates,
        model: ServedModel,
        *,
        may_hold: bool,
        on_change: Callable[[SiteState, bool], None],
    ) -> None:
        self.on_hold: set[str] = set()  # the reader looks here
        self._states = states
        self._model = model
        self._may_hold = may_hold
        self._on_change = on_change
        self._judges: dict[str, SiteJudge] = {}
        self._notes: dict[str, array[float]] = {}
        self._num_noted = 0
        self._judged_at = 0.0
        self._incidents: dict[str, Incident] = {}  # not in the shared state yet
        self._has_news = asyncio.Event()
        self._exchanging = asyncio.Lock()
        self._is_failing = False
        self._adopt(states.exchange([]))

    def note(self, site: str, readings: Sequence[Reading]) -> None:
        """Note reads that have been answered."""
        notes = self._notes.get(site)
        if notes is None:
            notes = self._notes[site] = array("d")
        looks_at_all = site in self._judges and self._judges[site].test.level >= LOOK_FROM
        for reading in readings:
            self._num_noted += 1
            signal.note(
                notes, reading, look=looks_at_all or self._num_noted % signal.LOOK_EVERY == 0
            )

    def tick(self, now_s: float) -> None:
        """Judge the noted reads of some sites; called ten times a second.

        Args:
            now_s: of time.monotonic().
        """
        is_due = now_s - self._judged_at >= JUDGED_S
        few = 0 if is_due else JUDGED_READS * signal.NOTED
        sites = [site for site, notes in self._notes.items() if len(notes) > few]
        if is_due and len(sites) <= _MOST_SITES_A_TICK:
            self._judged_at = now_s
        for site in sites[:_MOST_SITES_A_TICK]:
            self._judge(site, self._notes.pop(site))

    async def run(self) -> None:
        """Exchange states with other processes until cancelled; at once when a site trips."""
        while True:
            # Until Python 3.12, asyncio.wait_for loses a cancellation that comes with the news.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXCHANGE_S):
                    await self._has_news.wait()
            self._has_news.clear()
            try:
                await self._exchange()
                self._is_failing = False
            except OSError as error:
                if not self._is_failing:
                    log.warning("site states not exchanged; retrying", detail=str(error))
                self._is_failing = True

    def close(self) -> None:
        """Write what was learned."""
        try:
            self._states.exchange(self._take_changes())
        except OSError as error:
            log.warning("site states not written", detail=str(error))

    def change_model(self, model: ServedModel) -> None:
        """Judge from now on by another champion; what was noted is judged by the one before."""
        for site, notes in self._notes.items():
            self._judge(site, notes)
        self._notes.clear()
        self._model = model
        for judge in self._judges.values():
            judge.change_model(model.version, model.expected_reject_share)

    def states(self) -> list[SiteState]:
        """Every site that is known, by name."""
        return [self._judges[site].state for site in sorted(self._judges)]

    async def release(self, site: str, by: str) -> SiteState | None:
        """Trust a site again, in every process.

        Args:
            site: its name.
            by: whose key it was.

        Returns:
            The site's state; None: there is no such site.

        Raises:
            OSError: the shared state cannot be written.
        """
        judge = self._judges.get(site)
        if judge is None:
            return None
        incident = self._incidents.get(site, judge.state.incident)
        if incident is not None and incident.status != "ok":
            self._notes.pop(site, None)  # reads from before the release do not count
            self._incidents[site] = released(incident, by, time.time_ns() // 1000)
            await self._exchange()
        return self._judges[site].state

    def _judge(self, site: str, notes: "array[float]") -> None:
        judge = self._judges.get(site) or self._new_judge(SiteState(site))
        incident = judge.add(signal.to_signals(notes, self._model.policy), time.time_ns() // 1000)
        if incident is None:
            return
        # At once here, before the others know: the next reads are on hold already.
        self._incidents[site] = incident
        judge.adopt(replace(judge.state, incident=incident))
        self._set_hold(judge.state)
        self._has_news.set()

    def _new_judge(self, state: SiteState) -> SiteJudge:
        judge = self._judges[state.site] = SiteJudge(
            state,
            model_version=self._model.version,
            expected_reject_share=self._model.expected_reject_share,
            may_hold=self._may_hold,
        )
        return judge

    async def _exchange(self) -> None:
        async with self._exchanging:
            changes = self._take_changes()
            try:
                states = await asyncio.to_thread(self._states.exchange, changes)
            except OSError:
                for change in changes:
                    if change.incident is not None:
                        self._incidents.setdefault(change.site, change.incident)
                raise
            self._adopt(states, {change.site: change.incident for change in changes})

    def _take_changes(self) -> list[Change]:
        """What is new here: sites with reads learned from, or an incident."""
        changes = [
            judge.take_learned(self._incidents.pop(site, None))
            for site, judge in self._judges.items()
        ]
        return [one for one in changes if one.num_reads or one.incident is not None]

    def _adopt(
        self, states: Sequence[SiteState], mine: Mapping[str, Incident | None] = _NONE
    ) -> None:
        for state in states:
            if state.site in self._incidents:  # newer than what is shared
                continue
            judge = self._judges.get(state.site)
            before = None if judge is None else judge.state.incident
            if judge is None:
                judge = self._new_judge(state)
            judge.adopt(state)
            self._set_hold(state)
            if state.incident is None:
                continue
            is_mine = mine.get(state.site) == state.incident
            if is_mine or state.incident != before:
                self._on_change(state, is_mine)
            if is_mine:  # so that of all processes one says it
                _say(state, state.incident)

    def _set_hold(self, state: SiteState) -> None:
        by_person = state.incident is not None and bool(state.incident.held_by)
        if state.status == "hold" and (self._may_hold or by_person):
            self.on_hold.add(state.site)
        else:
            self.on_hold.discard(state.site)


def _say(state: SiteState, incident: Incident) -> None:
    """Log what happened to a site: the alert, once for each incident."""
    if incident.status == "ok":
        log.warning("site released", site=state.site, by=incident.released_by)
        return
    log.error(
        "site on hold" if incident.status == "hold" else "site reads badly; not on hold",
        site=state.site,
        by=incident.held_by or None,
        reason=incident.reason,
        statistic=incident.statistic,
        reads=incident.num_reads,
        reject_share=round(incident.reject_share, 3),
        usual_reject_share=round(incident.usual_reject_share, 3),
    )
