"""Request ids, and a clock of this machine that jumps."""

import asyncio
import random
import uuid
from email.utils import formatdate

import pytest
from virtual_time import PNG, FakeService, run

from digitline.core import Core
from digitline.request_ids import ServiceClock, new_request_id

NOW = 1_795_700_000.0


def clock_at(seconds):
    return ServiceClock(lambda: seconds, lambda: 0.0)


def id_of(clock):
    return uuid.UUID(new_request_id(clock, random.Random()))


def test_a_request_id_is_a_version_7_uuid_of_now():
    made = id_of(clock_at(NOW))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == NOW * 1000


def test_request_ids_differ_and_use_every_random_bit():
    clock = clock_at(NOW)
    made = [id_of(clock).int for _ in range(2000)]
    assert len(set(made)) == 2000
    ones = zeros = 0
    for one in made:
        ones |= one
        zeros |= ~one
    random_bits = 0xFFF << 64 | (1 << 62) - 1
    assert ones & random_bits == zeros & random_bits == random_bits


@pytest.mark.parametrize("wrong_s", [-86_400.0, -30.0, 30.0, 3600.0])
def test_a_clock_that_is_wrong_is_corrected_by_the_services(wrong_s):
    clock = ServiceClock(lambda: NOW + wrong_s, lambda: 50.0)
    clock.on_date(formatdate(NOW, usegmt=True))
    assert clock.now_s() == pytest.approx(NOW)


def test_a_clock_that_is_right_keeps_its_fractions():
    clock = ServiceClock(lambda: NOW + 0.75, lambda: 50.0)
    clock.on_date(formatdate(NOW - 2, usegmt=True))
    assert clock.now_s() == pytest.approx(NOW + 0.75)


@pytest.mark.parametrize("header", [None, "", "yesterday", "Thu, 99 Nov 2026 10:00:00 GMT"])
def test_a_date_that_is_none_changes_nothing(header):
    clock = clock_at(NOW)
    clock.on_date(header)
    assert clock.now_s() == NOW


def test_a_jump_of_the_clock_changes_neither_a_read_nor_its_key():
    wall = [NOW]
    service = FakeService()

    async def main():
        core = Core("http://service", None, bundle_ms=None, transport=service, wall=lambda: wall[0])
        took_ms = []
        for jump_s in (0, 7200, -90_000):
            wall[0] += jump_s
            begun = asyncio.get_running_loop().time()
            reading = await core.read(
                PNG, begun=begun, deadline=begun + 0.1, letter_deadline_ms=None
            )
            took_ms.append(reading.took_ms)
        await core.aclose()
        return took_ms

    assert run(main()) == pytest.approx([2.0] * 3)
    sent = [uuid.UUID(one.headers["idempotency-key"]).int >> 80 for one in service.requests]
    assert all(0 <= milliseconds / 1e3 - NOW < 60 for milliseconds in sent)
