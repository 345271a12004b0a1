"""One site in one process: its history, its sequential test, whether it has recovered. Pure.

Reads are learned from while the test is calm. Before a site has a history of its own, its rejects
are compared with what the champion rejected of validation digits.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture.site_states import RECOVERY, Change, Incident, SiteState, released
from serving.reading import site_signals as signal
from serving.reading.change_test import ChangeTest
from serving.reading.fault_reason import reason_of

MIN_HISTORY_READS: Final = 2_000  # a site is put on hold only from here on
RECOVERED_READS: Final = 1_000  # calm reads in a row end an incident
# Of reads: digits of new writers are rejected more often than validation digits, whose writers
# training has seen (monitoring/rules.py).
NEW_WRITERS_EXCESS: Final = 0.04
EXPECTED_NO_DIGIT: Final = 0.03


class SiteJudge:
    """Judges one site's reads.

    Args:
        state: what is known of the site.
        model_version: of the champion.
        expected_reject_share: of the champion's validation digits.
        may_hold: hold the site when it trips, if it has its own history; else only alert.
    """

    def __init__(
        self, state: SiteState, *, model_version: str, expected_reject_share: float, may_hold: bool
    ) -> None:
        self.state = state
        self.test = ChangeTest()
        self._version = model_version
        self._expected = expected_reject_share + NEW_WRITERS_EXCESS
        self._may_hold = may_hold
        self._learned: list[NDArray[np.float64]] = []
        self._calm_reads = 0
        self._usual = self._usual_now()

    @property
    def has_history(self) -> bool:
        """Whether the site has its own accepted history, of the signals that there are now."""
        is_long = self.state.num_reads >= MIN_HISTORY_READS
        return is_long and len(self.state.means) == signal.NUM_SIGNALS

    def add(self, signals: NDArray[np.float64], now_us: int) -> Incident | None:
        """Judge some more reads.

        Args:
            signals: (N, NUM_SIGNALS).
            now_us: microseconds since 1970.

        Returns:
            What happened: the site tripped, or it has recovered.
        """
        statistic = self.test.add(signals, self._usual)
        if self.state.status != "ok":
            return self._look_for_recovery(len(signals), now_us)
        if statistic is not None:
            return self._trip(statistic, now_us)
        if not self.test.is_suspect:
            self._learned.append(signals)
        return None

    def take_learned(self, incident: Incident | None) -> Change:
        """What was learned since the last call, with an incident, for the shared state."""
        learned = np.concatenate([*self._learned, np.empty((0, signal.NUM_SIGNALS))])
        self._learned.clear()
        return Change(
            self.state.site, self._version, len(learned), signal.means_of(learned), incident
        )

    def change_model(self, version: str, expected_reject_share: float) -> None:
        """Go on with another champion; reads of the one before that are not shared are dropped."""
        self._learned.clear()
        self._version = version
        self._expected = expected_reject_share + NEW_WRITERS_EXCESS
        self._usual = self._usual_now()

    def adopt(self, state: SiteState) -> None:
        """Go on from the shared state."""
        if state.status != self.state.status:
            self.test.reset()
            self._calm_reads = 0
        self.state = state
        self._usual = self._usual_now()

    def _usual_now(self) -> NDArray[np.float64]:
        if self.has_history:
            return signal.as_array(self.state.means)
        usual = np.full(signal.NUM_SIGNALS, np.nan)
        usual[signal.REJECTED] = self._expected
        usual[signal.NO_DIGIT] = EXPECTED_NO_DIGIT
        return usual

    def _trip(self, statistic: str, now_us: int) -> Incident:
        recent, usual = self.test.recent, self._usual
        holds = self._may_hold and self.has_history
        before = self.state.incident
        return Incident(
            status="hold" if holds else "alert",
            changed_us=now_us,
            since_us=now_us,
            reason=reason_of(recent, usual),
            statistic=statistic,
            num_reads=len(recent),
            reject_share=float(recent[:, signal.REJECTED].mean()),
            usual_reject_share=float(usual[signal.REJECTED]),
            recovered_us=0 if before is None else before.recovered_us,
        )

    def _look_for_recovery(self, num_reads: int, now_us: int) -> Incident | None:
        """End an incident after many calm reads, unless only a person may end it.

        That is so where a person put the site on hold, and for the second incident within a day.
        """
        incident = self.state.incident
        assert incident is not None
        if self.test.is_suspect:
            self.test.reset()
            self._calm_reads = 0
            return None
        self._calm_reads += num_reads
        if self._calm_reads < RECOVERED_READS or incident.is_relapse or incident.held_by:
            return None
        return released(incident, RECOVERY, now_us)
