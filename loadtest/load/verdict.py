"""The verdict on a load test. Pure.

A dead server fails fast, so the latencies of its few answers look good. The verdict therefore asks
in this order: were requests made, were they answered, were as many made as planned, how long did
they take, were the digits right, how many were refused.
"""

import operator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from contract.slo import Slo
from loadtest.load.request_log import Log

ACHIEVED_FRAC: Final = 0.97  # of the planned rate; below it the generator fell behind
MIN_ACCURACY: Final = 0.98  # of the labelled crops; the champion exceeds it, see its model card
BUSY: Final = (429, 503)
COMPARE: Final = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


@dataclass(frozen=True, slots=True)
class Phase:
    """A period of the test with one limit: the sustained rate, or a burst."""

    name: str
    starts_s: float
    ends_s: float
    planned_rps: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One question of the verdict, its value and its limit."""

    question: str
    value: float
    limit: str
    passed: bool


def judge(log: Log, phases: list[Phase], slo: Slo) -> list[Finding]:
    """Ask every question of every phase; if one question fails, ignore the ones after it."""
    findings: list[Finding] = []
    for phase in phases:
        findings += _judge_phase(log.between(phase.starts_s, phase.ends_s), phase, slo)
    return findings


def _judge_phase(log: Log, phase: Phase, slo: Slo) -> list[Finding]:
    figures = summarise(log, phase.ends_s - phase.starts_s)
    questions = (
        ("requests made", "requests", ">", 0.0),
        ("share failed", "failed_frac", "<=", slo.error_frac),
        ("requests/s", "rps", ">=", phase.planned_rps * ACHIEVED_FRAC),
        ("p50 ms", "p50_ms", "<", np.inf),
        ("p95 ms", "p95_ms", "<", np.inf),
        ("p99 ms", "p99_ms", "<", phase.p99_ms),
        ("accuracy", "accuracy", ">=", MIN_ACCURACY),
        ("share refused (429, 503)", "shed_frac", "<=", slo.error_frac),
    )
    return [
        Finding(
            question=f"{phase.name}: {question}",
            value=figures[name],
            limit=f"{sign} {limit:g}" if np.isfinite(limit) else "",
            passed=bool(COMPARE[sign](figures[name], limit)),
        )
        for question, name, sign, limit in questions
    ]


def summarise(log: Log, duration_s: float) -> dict[str, float]:
    """The figures of a period. Latencies count requests answered 200; inf if there are none."""
    made = len(log.at_s)
    good = log.latency_ms[log.status == 200]
    crops = int(log.num_crops.sum())
    failed = int(((log.status != 200) | log.is_wrong).sum())
    percentiles = np.percentile(good, [50, 95, 99]) if good.size else [np.inf] * 3
    return {
        "requests": made,
        "failed_frac": failed / made if made else 1.0,
        "rps": made / duration_s,
        "p50_ms": float(percentiles[0]),
        "p95_ms": float(percentiles[1]),
        "p99_ms": float(percentiles[2]),
        "accuracy": int(log.num_right.sum()) / crops if crops else 0.0,
        "shed_frac": float(np.isin(log.status, BUSY).sum()) / made if made else 0.0,
    }


def timeline(log: Log) -> list[dict[str, Any]]:
    """The figures of every second."""
    last_s = int(log.at_s.max()) + 1 if len(log.at_s) else 0
    return [
        {"at_s": second} | summarise(log.between(second, second + 1), 1.0)
        for second in range(last_s)
    ]


def finite(value: float) -> float | None:
    """None for infinity, which JSON does not have."""
    return value if np.isfinite(value) else None
