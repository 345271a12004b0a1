"""Request ids: the caller's if safe, else version 7 UUIDs that sort by time."""

import time
import uuid

import pytest

from serving.edge import request_id
from serving.edge.request_id import new_request_id, request_id_of


def test_new_id_is_a_version_7_uuid_of_now():
    before_ms = time.time_ns() // 1_000_000
    made = uuid.UUID(new_request_id())
    after_ms = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert before_ms <= made.int >> 80 <= after_ms


def test_a_new_id_has_the_text_form_of_a_uuid():
    made = new_request_id()
    assert str(uuid.UUID(made)) == made


@pytest.mark.parametrize("step_ns", [250, 1_000, 999_999, 1_000_000])
def test_ids_sort_by_time_within_a_millisecond_too(monkeypatch, step_ns):
    # Odd times, and steps over the millisecond's end.
    times = [1_700_000_000_000_999_000 + number * step_ns for number in range(50)]
    clock = iter(times)
    monkeypatch.setattr(request_id.time, "time_ns", lambda: next(clock))
    made = [new_request_id() for _ in times]
    assert made == sorted(made)
    assert len({one[:18] for one in made}) == len(times)  # the time alone tells them apart


def test_ids_of_the_same_time_differ(monkeypatch):
    monkeypatch.setattr(request_id.time, "time_ns", lambda: 1_700_000_000_000_000_000)
    made = [uuid.UUID(new_request_id()).int for _ in range(5_000)]
    assert len(set(made)) == len(made)
    # Each of the 62 random bits is both 0 and 1 somewhere.
    ones = 0
    zeros = 0
    for one in made:
        ones |= one
        zeros |= ~one
    mask = (1 << 62) - 1
    assert ones & mask == mask
    assert zeros & mask == mask


def test_a_safe_id_of_the_caller_is_kept():
    assert request_id_of({b"host": b"x", b"x-request-id": b"scan-7_A.b"}) == "scan-7_A.b"


@pytest.mark.parametrize("unfit", [b"", b"a b", b"a\nb", b"\xff", b"x" * 65])
def test_an_unsafe_id_is_replaced(unfit):
    assert uuid.UUID(request_id_of({b"x-request-id": unfit})).version == 7
