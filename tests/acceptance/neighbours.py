"""The measured neighbour: good crops at 100 requests a second, alone and beside an attack."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest.clients.openloop import Sample
from serving.edge.key_ring import new_key
from tests.acceptance.attackers import Counts, Target, attacking
from tests.acceptance.harness import Load, Report, Service

RPS: Final = 100
BESIDE_S, ALONE_S, QUICK_S = 10.0, 5.0, 2.0
P99_TIMES, P99_MORE_MS = 1.5, 20.0
_LEAD_S: Final = 0.7  # the attack's head start
TRIES: Final = 2  # the machine is noisy: a miss counts when it happens again
CALM_TRIES, CALM_P99_MS, PAUSE_S = 5, 60.0, 3.0


@dataclass(frozen=True, slots=True)
class Keyed:
    """A service with keys, and the neighbour's load."""

    service: Service
    loud: str  # the attacker's key
    calm: str  # the neighbour's key
    key_file: Path


@contextlib.contextmanager
def keyed(env: Mapping[str, str] | None = None, **options: Any) -> Iterator[Keyed]:
    """A service with a key for the attacker and one for the neighbour, in a key file."""
    loud, loud_entry = new_key("loud", ["predict"], None)
    calm, calm_entry = new_key("calm", ["predict"], None)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="acceptance-"))
        key_file = Path(folder) / "keys.json"
        key_file.write_text(json.dumps({"keys": [loud_entry, calm_entry]}))
        settings = {"DIGITS_API_KEYS_FILE": str(key_file), **(env or {})}
        service = stack.enter_context(Service(env=settings, **options))
        yield Keyed(service, loud, calm, key_file)


def stays_fair(
    report: Report,
    name: str,
    load: Load,
    port: int,
    attack: Callable[..., Counts],
    *arguments: object,
    source: str = "127.0.0.1",
) -> Counts:
    """Measure the neighbour alone, then beside an attack; record and judge both.

    Args:
        report: receives the counts.
        name: of the member of the attack's kind.
        load: the neighbour's requests.
        port: where both send to.
        attack: a function of tests.acceptance.attackers, whose first argument is a `Target`.
        arguments: its other arguments.
        source: the address that the attacker sends from.

    Returns:
        What the attacker was answered.
    """
    seconds = QUICK_S if report.is_quick else BESIDE_S
    target = Target(port, seconds + 2 * _LEAD_S, source)
    for turn in range(TRIES):
        alone = _measure_alone(load, port, QUICK_S if report.is_quick else ALONE_S)
        with attacking(attack, target, *arguments) as attacked:
            time.sleep(_LEAD_S)
            beside = asyncio.run(load.run(port, RPS, seconds))
            counts = attacked.result()
        misses = _misses(name, alone, beside, judges_p99=not report.is_quick)
        if not misses:
            break
        if turn + 1 < TRIES:
            report.fact(f"{name}: first try", f"{misses}, {_p99s(alone, beside)} ms")
            time.sleep(PAUSE_S)
    report.fact(f"{name}: requests beside and failed", [len(beside.status), beside.num_failed])
    if beside.num_failed:
        report.fact(f"{name}: statuses", beside.statuses())
    report.fact(f"{name}: p99 ms alone and beside", _p99s(alone, beside))
    report.fact(f"{name}: the attacker got", counts)
    for miss in misses:
        report.expect(miss, is_so=False)
    return counts


def _measure_alone(load: Load, port: int, seconds: float) -> Sample:
    """The neighbour alone; again while the machine, or the service after an attack, is not calm."""
    for turn in range(CALM_TRIES):
        alone = asyncio.run(load.run(port, RPS, seconds))
        if alone.num_failed == 0 and alone.percentile_ms(99) < CALM_P99_MS:
            break
        if turn + 1 < CALM_TRIES:
            time.sleep(PAUSE_S)
    return alone


def _misses(name: str, alone: Sample, beside: Sample, *, judges_p99: bool) -> list[str]:
    """What is not as it should be.

    Args:
        name: of the member.
        alone: the neighbour alone.
        beside: the neighbour beside the attack.
        judges_p99: no for a quick run: a shared machine cannot be held to the p99 of 200 requests.
    """
    limit_ms = max(alone.percentile_ms(99) * P99_TIMES, alone.percentile_ms(99) + P99_MORE_MS)
    found = {
        f"{name}: 0 failed alone": alone.num_failed == 0,
        f"{name}: 0 failed beside": beside.num_failed == 0,
        f"{name}: 0 wrong beside": beside.num_wrong == 0,
        f"{name}: p99 within 1.5 times or 20 ms": not judges_p99
        or beside.percentile_ms(99) <= limit_ms,
    }
    return [miss for miss, is_so in found.items() if not is_so]


def _p99s(alone: Sample, beside: Sample) -> list[float]:
    return [round(one.percentile_ms(99), 1) for one in (alone, beside)]
