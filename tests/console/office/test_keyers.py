"""Keyers of an hour, against a simulated hour of trucks and people."""

import numpy as np
import pytest

from console.office.keyers import MAX_WAIT_S, plan, usual_shares
from contract.arrivals import TRUCK_EVERY_S
from loadtest.simulator.arrivals import truck_rates


def longest_wait_s(keys, num_keyers, keys_per_hour):
    """Simulate two hours second by second: keys arrive with the trucks, keyers take the oldest."""
    rates = truck_rates(1.0, 7200)
    arrived = np.cumsum(rates / rates[:3600].sum() * keys)
    backlog, longest = 0.0, 0.0
    done_each_s = num_keyers * keys_per_hour / 3600
    before = 0.0
    for total in arrived:
        backlog = max(backlog + total - before - done_each_s, 0.0)
        before = total
        longest = max(longest, backlog / done_each_s)
    return longest


@pytest.mark.parametrize("keys", [3_000, 20_000, 100_000])
def test_prompt_keyers_let_no_key_wait_longer_than_a_minute(keys):
    hour = plan(keys, [1.0], 1_200)[0]
    assert longest_wait_s(keys, hour.num_prompt, 1_200) <= MAX_WAIT_S * 1.01


@pytest.mark.parametrize("keys", [20_000, 100_000])
def test_one_prompt_keyer_fewer_is_too_few(keys):
    hour = plan(keys, [1.0], 1_200)[0]
    assert longest_wait_s(keys, hour.num_prompt - 1, 1_200) > MAX_WAIT_S


@pytest.mark.parametrize("keys", [3_000, 20_000, 100_000])
def test_even_keyers_are_done_before_the_next_truck(keys):
    hour = plan(keys, [1.0], 1_200)[0]
    assert longest_wait_s(keys, hour.num_even, 1_200) <= TRUCK_EVERY_S


def test_fewer_than_even_keyers_fall_behind():
    hour = plan(100_000, [1.0], 1_200)[0]
    assert longest_wait_s(100_000, round(0.85 * hour.num_even), 1_200) > TRUCK_EVERY_S


def test_an_hour_without_keys_needs_nobody():
    assert plan(0, [1.0], 1_200)[0].num_prompt == 0


def test_the_usual_day_is_one_day():
    assert sum(usual_shares()) == pytest.approx(1)
