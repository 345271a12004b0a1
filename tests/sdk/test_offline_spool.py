"""The spool of reads made offline: bounded, in order, and whole after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from digitline.answers import Reading
from digitline.offline_spool import OfflineSpool

SDK = Path(__file__).parents[2] / "sdk" / "src"


def local(request_id, digit=7, *, accepted=True):
    return Reading(
        digit=digit, confidence=0.99, accepted=accepted, rejected_because=None, candidates=(),
        read_id="", request_id=request_id, model_version="7", took_ms=1.0, source="local",
    )  # fmt: skip


def answer_to(request_id, digit=7, *, accepted=True):
    return replace(
        local(request_id, digit, accepted=accepted), read_id=f"read-{request_id}", source="service"
    )


class Time:
    """Seconds since 1970 and steady seconds, moved by hand."""

    def __init__(self):
        self.wall = 1_800_000_000.0
        self.steady = 50.0

    def passes(self, seconds):
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def open_spool(tmp_path, time):
    opened = []

    def open_one(**limits):
        one = OfflineSpool(
            tmp_path / "reads.db", clock=lambda: time.wall, steady=lambda: time.steady, **limits
        )
        opened.append(one)
        return one

    yield open_one
    for one in opened:
        one.close()


def waiting_ids(spool):
    """Drain by hand."""
    ids = []
    while (one := spool.next_waiting()) is not None:
        ids.append(one.request_id)
        spool.note_answer(one.request_id, answer_to(one.request_id))
    return ids


def test_reads_come_out_in_the_order_in_which_they_were_made(open_spool):
    spool = open_spool()
    ids = [f"r{number}" for number in (3, 1, 2)]
    for one in ids:
        spool.add(one.encode(), local(one))
    assert spool.next_waiting().crop == b"r3"
    assert waiting_ids(spool) == ids


def test_a_read_is_kept_once(open_spool):
    spool = open_spool()
    assert spool.add(b"crop", local("r"))
    assert not spool.add(b"another", local("r"))
    assert (spool.totals().waiting, spool.totals().spooled) == (1, 1)
    assert spool.next_waiting().crop == b"crop"


def test_beyond_its_size_the_oldest_reads_are_dropped_and_counted(open_spool, tmp_path):
    spool = open_spool(max_bytes=100_000)
    for number in range(300):
        spool.add(bytes(2000), local(f"r{number}"))
        assert spool.totals().num_bytes <= 100_000
    totals = spool.totals()
    assert totals.waiting == 100_000 // 2512
    assert totals.waiting + totals.dropped_by_size == 300
    assert waiting_ids(spool) == [f"r{number}" for number in range(300 - totals.waiting, 300)]
    spool.checkpoint()
    assert (tmp_path / "reads.db").stat().st_size < 250_000


def test_the_log_does_not_grow_once_it_is_in_the_file(open_spool, tmp_path):
    spool = open_spool(max_bytes=100_000)
    sizes = []
    for number in range(200):
        spool.add(bytes(2000), local(f"r{number}"))
        if number % 20 == 19:
            spool.checkpoint()
            sizes.append((tmp_path / "reads.db-wal").stat().st_size)
    assert max(sizes[5:]) == sizes[4]


def test_reads_that_are_too_old_are_dropped_and_counted(open_spool, time):
    spool = open_spool(max_age_s=100)
    spool.add(b"old", local("old"))
    time.passes(60)
    spool.add(b"new", local("new"))
    time.passes(60)
    assert waiting_ids(spool) == ["new"]
    assert spool.totals().dropped_by_age == 1


def test_a_jump_of_the_clock_drops_nothing(open_spool, time):
    spool = open_spool(max_age_s=100)
    spool.add(b"crop", local("r"))
    time.wall += 365 * 86_400
    assert waiting_ids(spool) == ["r"]


def test_what_was_seen_by_the_service_is_not_counted_as_dropped(open_spool, time):
    spool = open_spool(max_age_s=100)
    spool.add(b"crop", local("r"))
    spool.note_answer("r", answer_to("r"))
    time.passes(200)
    assert spool.next_waiting() is None
    assert spool.totals().dropped_by_age == 0
    assert spool.away().num_answered == 0


def test_the_report_has_the_reads_that_the_service_sees_differently(open_spool):
    spool = open_spool()
    theirs = {
        "same": answer_to("same"),
        "digit": answer_to("digit", 1),
        "rejected": answer_to("rejected", accepted=False),
        "blank": answer_to("blank", None, accepted=False),
    }
    for one in theirs:
        spool.add(b"crop", local(one))
    for one, answer in theirs.items():
        spool.note_answer(one, answer)
    spool.add(b"bad", local("bad"))
    spool.note_refusal("bad", "422 the crop")
    away = spool.away()
    assert away.num_answered == 4
    assert [
        (one.read_id, one.local_digit, one.service_digit, one.local_accepted, one.service_accepted)
        for one in away.disagreements
    ] == [
        ("read-digit", 7, 1, True, True),
        ("read-rejected", 7, 7, True, False),
        ("read-blank", 7, None, True, False),
    ]
    assert away.refusals == {"bad": "422 the crop"}


def test_a_dismissed_report_is_gone_and_later_answers_are_not(open_spool):
    spool = open_spool()
    for one in ("a", "b", "c"):
        spool.add(b"crop", local(one))
    spool.note_answer("a", answer_to("a", 1))
    away = spool.away()
    spool.note_answer("b", answer_to("b", 2))
    spool.dismiss(away)
    assert [one.request_id for one in spool.away().disagreements] == ["b"]
    assert waiting_ids(spool) == ["c"]


def test_an_answer_after_the_first_changes_nothing(open_spool):
    spool = open_spool()
    spool.add(b"crop", local("r"))
    spool.note_answer("r", answer_to("r", 1))
    spool.note_answer("r", answer_to("r", 2))
    assert [one.service_digit for one in spool.away().disagreements] == [1]
    assert spool.totals().answered == 1


def test_a_crop_leaves_the_file_when_it_is_answered(open_spool):
    spool = open_spool()
    spool.add(bytes(5000), local("r"))
    spool.note_answer("r", answer_to("r"))
    assert spool.totals().num_bytes < 1000
    assert spool.read_id_of("r") == "read-r"


def test_only_a_second_key_may_record_a_read_twice(open_spool):
    spool = open_spool()
    for one in ("a", "b", "c"):
        spool.add(b"crop", local(one), one if one == "c" else None)
    spool.note_sending("a", "key-1")
    spool.note_sending("a", "key-1")
    spool.note_sending("b", "key-1")
    spool.note_sending("b", "key-2")
    spool.note_sending("c", "key-1")
    for one in ("a", "b", "c"):
        spool.note_answer(one, answer_to(one))
    assert spool.away().perhaps_twice == ("b", "c")


def test_a_full_disk_is_an_error_and_keeps_what_is_there(open_spool):
    spool = open_spool()
    spool.add(b"crop", local("r"))
    pages = spool._file.rows.execute("PRAGMA page_count").fetchone()[0]
    spool._file.rows.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        spool.add(bytes(100_000), local("big"))
    assert waiting_ids(spool) == ["r"]


def test_only_the_owner_may_read_the_file(open_spool, tmp_path):
    spool = open_spool()
    spool.add(b"crop", local("r"))
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_two_processes_share_a_file(open_spool):
    one, other = open_spool(), open_spool()
    for number in range(20):
        (one if number % 2 else other).add(b"crop", local(f"r{number}"))
    assert waiting_ids(one) == [f"r{number}" for number in range(20)]
    assert other.totals().answered == 20


WRITER = """
import sys
from pathlib import Path
from digitline.answers import Reading
from digitline.offline_spool import OfflineSpool
spool = OfflineSpool(Path(sys.argv[1]))
for number in range(100_000):
    one = Reading(7, 0.9, True, None, (), "", f"{sys.argv[2]}-{number}", "7", 1.0, "local")
    spool.add(bytes(500), one)
    print(one.request_id, flush=True)
"""


def test_a_killed_process_loses_no_read_that_it_has_answered(tmp_path):
    path, answered = tmp_path / "reads.db", []
    for run in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(run)],
            env={**os.environ, "PYTHONPATH": str(SDK)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        answered += [process.stdout.readline().strip() for _ in range(50 + 30 * run)]
        process.send_signal(signal.SIGKILL)
        answered += process.stdout.read().split()
        process.wait()
        process.stdout.close()
    spool = OfflineSpool(path)
    kept = waiting_ids(spool)
    assert spool._file.rows.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    spool.close()
    assert len(kept) == len(set(kept))
    assert set(answered) <= set(kept)
    assert len(kept) <= len(answered) + 4  # one that was kept and not told, for each kill
    assert [one for one in kept if one in set(answered)] == answered
