"""How many people key in each hour of a day. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from contract.arrivals import DAY, IDLE_FRAC, TRUCK_EVERY_S, TRUCK_S

MAX_WAIT_S: Final = 60.0  # for a key that shall not wait for the next truck
MIN_DAYS: Final = 7  # of an office's own mail, before its own hours are used


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the average day."""

    hour: int
    keys: float
    num_even: int  # keyers that are done before the next hour
    num_prompt: int  # keyers that let no key wait longer than `MAX_WAIT_S`


def plan(keys_a_day: float, shares: Sequence[float], keys_per_hour: float) -> list[Hour]:
    """Keyers of each hour.

    In an hour mail comes as trucks unload: for 2 of every 15 minutes at a peak, 1/30 of it
    between. The longest wait is that of the last key of a peak: what has piled up by then,
    divided by what the keyers do in a second.

    Args:
        keys_a_day: reads that a person keys.
        shares: of a day's mail, in each hour; they sum to 1.
        keys_per_hour: of one keyer.
    """
    found = []
    for hour, share in enumerate(shares):
        keys = keys_a_day * share
        even = keys / keys_per_hour
        busy_frac = (TRUCK_S + (TRUCK_EVERY_S - TRUCK_S) * IDLE_FRAC) / TRUCK_EVERY_S
        prompt = even / busy_frac * TRUCK_S / (TRUCK_S + MAX_WAIT_S)
        found.append(Hour(hour, keys, ceil(even), ceil(max(even, prompt))))
    return found


def usual_shares() -> list[float]:
    """The hours of the day that load tests and the capacity simulator use."""
    return [one / sum(DAY) for one in DAY]
