"""One site's judge: when it holds, when it only alerts, what it learns, how a site recovers."""

from dataclasses import replace

import numpy as np
import pytest

from capture.site_states import RELAPSE_US, SiteState, held, learn, released
from serving.reading import site_signals as signal
from serving.reading.site_judge import MIN_HISTORY_READS, RECOVERED_READS, SiteJudge

HOUR_US = 3_600_000_000
GOOD = np.full((20, signal.NUM_SIGNALS), np.nan)
GOOD[:, [signal.REJECTED, signal.NO_DIGIT, signal.BLANK]] = 0
BAD = GOOD.copy()
BAD[:, [signal.REJECTED, signal.NO_DIGIT]] = 1


def make_judge(*, may_hold=True, **fields):
    state = SiteState("berlin-1", **fields)
    return SiteJudge(state, model_version="6", expected_reject_share=0.1, may_hold=may_hold)


def learned(judge, num=MIN_HISTORY_READS):
    for _ in range(num // len(GOOD)):
        assert judge.add(GOOD, 0) is None
    judge.adopt(learn(judge.state, judge.take_learned(None)))
    return judge


def trip(judge, now_us=1):
    incident = judge.add(BAD, now_us)
    assert incident is not None
    judge.adopt(learn(judge.state, judge.take_learned(None)))
    judge.adopt(replace(judge.state, incident=incident))
    return incident


def recover(judge, now_us=1):
    for _ in range(RECOVERED_READS // len(GOOD)):
        incident = judge.add(GOOD, now_us)
    return incident


def test_a_site_with_its_own_history_is_held():
    assert trip(learned(make_judge())).status == "hold"


def test_a_site_without_history_is_only_reported():
    assert trip(make_judge()).status == "alert"


def test_a_site_is_only_reported_where_holding_is_not_allowed():
    assert trip(learned(make_judge(may_hold=False))).status == "alert"


def test_bad_reads_are_not_learned_from():
    judge = learned(make_judge())
    trip(judge)
    assert judge.state.means[signal.REJECTED] == 0
    assert judge.take_learned(None).num_reads == 0


def test_a_site_trips_once():
    judge = learned(make_judge())
    trip(judge)
    assert [judge.add(BAD, 0) for _ in range(100)] == [None] * 100


def test_a_site_recovers_after_many_good_reads():
    judge = learned(make_judge())
    trip(judge)
    incident = recover(judge)
    assert (incident.status, incident.released_by) == ("ok", "recovery")


def test_a_bad_read_in_between_delays_recovery():
    judge = learned(make_judge())
    trip(judge)
    for _ in range(RECOVERED_READS // len(GOOD) - 1):
        judge.add(GOOD, 0)
    judge.add(BAD, 0)
    assert judge.add(GOOD, 0) is None


@pytest.mark.parametrize(("later_us", "recovers"), [(HOUR_US, False), (RELAPSE_US + 1, True)])
def test_a_second_incident_within_a_day_waits_for_a_person(later_us, recovers):
    judge = learned(make_judge())
    trip(judge)
    judge.adopt(SiteState("berlin-1", "6", 5_000, judge.state.means, recover(judge)))
    trip(judge, later_us)
    assert (recover(judge, later_us) is not None) == recovers


def test_after_a_persons_release_the_site_may_recover_by_itself_again():
    judge = learned(make_judge())
    incident = released(trip(judge), "control", 1)
    judge.adopt(SiteState("berlin-1", "6", 5_000, judge.state.means, incident))
    trip(judge, HOUR_US)
    assert recover(judge, HOUR_US).status == "ok"


def test_a_history_of_other_signals_is_none():
    judge = make_judge(num_reads=5_000, means=(0.1, 0.2))
    assert not judge.has_history
    assert trip(judge).status == "alert"


def test_a_site_that_a_person_holds_does_not_recover_by_itself():
    judge = learned(make_judge())
    judge.adopt(replace(judge.state, incident=held(None, "anna", "dust", 1)))
    assert recover(judge, RELAPSE_US + 1) is None
