"""States of sites: learning, merging, and a folder that processes share and that survives kills."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import permutations

import pytest

from capture.site_states import (
    HISTORY_READS,
    Change,
    Incident,
    SiteState,
    SiteStates,
    file_name,
    from_json,
    held,
    learn,
    merge,
    read_all,
    released,
    to_json,
)

HOLD = Incident("hold", 20, 20, "turned", "no_digit", 60, 0.5, 0.1)
RELEASED = replace(HOLD, status="ok", changed_us=30, released_by="control")
STATE = SiteState("bérlin/1", "6", 3_000, (0.1, None), HOLD)


def change(num_reads=0, means=(0.2, None), incident=None, site="a"):
    return Change(site, "6", num_reads, means, incident)


def test_a_state_comes_back_from_its_file():
    assert from_json(to_json(STATE)) == STATE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        to_json(STATE)[:-9],
        b'{"incident": {}}',
        b'{"site": "a", "num_reads": "many"}',
        b'{"site": "a", "means": ["x"]}',
        b'{"site": "a", "incident": {"status": "on", "changed_us": 1, "since_us": 1}}',
    ],
)
def test_damage_is_named(data):
    with pytest.raises(ValueError, match=r".+"):
        from_json(data)


def test_old_reads_lose_weight():
    state = learn(SiteState("a"), change(1_000, (0.0,)))
    for _ in range(10 * HISTORY_READS // 1_000):
        state = learn(state, change(1_000, (1.0,)))
    assert state.num_reads == 1_000 + 10 * HISTORY_READS
    assert state.means[0] > 0.99


def test_the_mean_of_few_reads_is_their_mean():
    state = learn(learn(SiteState("a"), change(100, (0.0,))), change(300, (1.0,)))
    assert state.means == (0.75,)


def test_copies_merge_in_any_order_any_number_of_times():
    copies = [
        SiteState("a", "6", 10, (0.1,), None),
        SiteState("a", "6", 30, (0.3,), HOLD),
        SiteState("a", "6", 20, (0.2,), RELEASED),
    ]
    results = {
        merge(merge(one, two), merge(three, two)) for one, two, three in permutations(copies)
    }
    assert results == {SiteState("a", "6", 30, (0.3,), RELEASED)}


def test_what_two_workers_learn_adds_up(tmp_path):
    one, two = SiteStates(tmp_path), SiteStates(tmp_path)
    one.exchange([change(100, (0.0, None))])
    assert two.exchange([change(300, (1.0, None))]) == [SiteState("a", "6", 400, (0.75, None))]


def test_a_hold_of_one_worker_is_seen_by_the_other(tmp_path):
    one, two = SiteStates(tmp_path), SiteStates(tmp_path)
    one.exchange([change(incident=HOLD)])
    assert [state.status for state in two.exchange([])] == ["hold"]


def test_the_first_of_two_workers_that_trip_is_kept(tmp_path):
    one, two = SiteStates(tmp_path), SiteStates(tmp_path)
    one.exchange([change(incident=HOLD)])
    later = replace(HOLD, changed_us=40, since_us=40)
    assert two.exchange([change(incident=later)])[0].incident == HOLD


def test_without_a_folder_states_are_kept_in_memory():
    states = SiteStates(None)
    states.exchange([change(incident=HOLD)])
    assert states.exchange([])[0].incident == HOLD


def test_a_damaged_file_harms_its_site_alone(tmp_path):
    states = SiteStates(tmp_path)
    states.exchange([change(5, site="a"), change(5, site="b")])
    (tmp_path / file_name("a")).write_bytes(b"{")
    assert [state.site for state in states.exchange([])] == ["b"]
    assert len(states.exchange([change(5, site="a")])) == 2


def test_every_state_is_whole_after_kills(tmp_path):
    script = (
        "import sys; from pathlib import Path; from capture.site_states import *\n"
        "states = SiteStates(Path(sys.argv[1])); print('up', flush=True)\n"
        "while True: states.exchange([Change(s, '6', 1, [0.5] * 20, None) for s in 'abc'])\n"
    )
    rng, counts = random.Random(1), []
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.02, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        counts.append(sum(state.num_reads for state in read_all(tmp_path)))
        assert len(read_all(tmp_path)) == len(list(tmp_path.glob("*.json")))
    assert counts == sorted(counts)
    assert counts[-1] > 0


@pytest.mark.parametrize("before", [None, replace(HOLD, status="alert"), HOLD])
def test_a_persons_hold_replaces_what_the_service_said(tmp_path, before):
    states = SiteStates(tmp_path / "sites")
    states.exchange([change(5, incident=before)])
    by_person = held(before, "anna", "dust", 90)
    (state,) = states.exchange([change(incident=by_person)])
    assert (state.status, state.incident) == ("hold", by_person)


def test_a_persons_hold_is_not_replaced_by_the_services(tmp_path):
    states = SiteStates(tmp_path / "sites")
    by_person = held(None, "anna", "dust", 90)
    states.exchange([change(incident=by_person)])
    (state,) = states.exchange([change(incident=replace(HOLD, changed_us=95))])
    assert state.incident == by_person


@pytest.mark.parametrize("way", ["held", "released", "tripped"])
def test_what_is_said_after_a_clock_was_set_back_counts_when_copies_are_merged(tmp_path, way):
    """A task's copy, made while the clock was days ahead, must not bring the old state back."""
    states = SiteStates(tmp_path / "sites")
    before = replace(HOLD, status="ok" if way != "released" else "hold", changed_us=10**15)
    (copy,) = states.exchange([change(incident=before)])
    now = {
        "held": held(copy.incident, "anna", "dust", 90),
        "released": released(copy.incident, "anna", 90),
        "tripped": replace(HOLD, changed_us=90),
    }[way]
    (after,) = states.exchange([change(incident=now)])
    assert after.status == now.status != before.status
    assert merge(after, copy).status == merge(copy, after).status == now.status
