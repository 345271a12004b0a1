"""The service-level objective, and the verdict on a load test. Pure.

A load test lies most easily by leaving requests out: a dead server fails fast and its latencies
look splendid. So the verdict asks in this order: were requests made, were they answered, were as
many made as planned, how long did they take, were the digits right, how many were refused.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SLO_FILE: Final = Path(__file__).parent / "slo.toml"
ACHIEVED_FRAC: Final = 0.97  # of the planned rate; a generator that falls behind proves nothing
MIN_ACCURACY: Final = 0.98  # of the labelled crops; the champion reads more, see its model card
NO_ANSWER: Final = 0
BUSY: Final = (429, 503)


@dataclass(frozen=True, slots=True)
class Slo:
    """What is promised; units in the names."""

    sustained_rps: float
    p99_ms: float
    error_frac: float
    burst_rps: float
    burst_p99_ms: float
    availability: float


@dataclass(frozen=True, slots=True)
class Log:
    """Every request of a load test, in the order in which they ended."""

    at_s: NDArray[np.float64]  # when it should have left (open loop) or left, from the start
    latency_ms: NDArray[np.float64]
    status: NDArray[np.int64]  # 0: no answer
    num_crops: NDArray[np.int64]  # crops whose answers were compared with their labels
    num_right: NDArray[np.int64]
    is_wrong: NDArray[np.bool_]  # answered, but a digit was accepted that is not the label


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the test with one promise: calm at the sustained rate, or a burst."""

    name: str
    starts_s: float
    ends_s: float
    planned_rps: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One question of the verdict and its answer."""

    question: str
    value: float
    limit: str
    passed: bool


def load(path: Path = SLO_FILE) -> Slo:
    """Read the objective.

    Raises:
        TypeError: a value is missing or one is unknown.
    """
    return Slo(**tomllib.loads(path.read_text()))


def judge(log: Log, phases: list[Phase], slo: Slo) -> list[Finding]:
    """Every question for every phase, in the order in which an answer can be trusted."""
    findings: list[Finding] = []
    for phase in phases:
        findings += _judge_phase(_between(log, phase), phase, slo)
    return findings


def _between(log: Log, phase: Phase) -> Log:
    inside = (log.at_s >= phase.starts_s) & (log.at_s < phase.ends_s)
    return Log(*(getattr(log, name)[inside] for name in Log.__slots__))


def _judge_phase(log: Log, phase: Phase, slo: Slo) -> list[Finding]:
    made = len(log.at_s)
    figures = summarise(log, phase.ends_s - phase.starts_s)
    wanted_rps = phase.planned_rps * ACHIEVED_FRAC

    def finding(question: str, value: float, limit: str, *, passed: bool) -> Finding:
        return Finding(f"{phase.name}: {question}", value, limit, passed)

    return [
        finding("requests made", made, "> 0", passed=made > 0),
        finding(
            "share failed",
            figures["failed_frac"],
            f"<= {slo.error_frac:g}",
            passed=figures["failed_frac"] <= slo.error_frac,
        ),
        finding(
            "requests/s", figures["rps"], f">= {wanted_rps:g}", passed=figures["rps"] >= wanted_rps
        ),
        finding("p50 ms", figures["p50_ms"], "", passed=made > 0),
        finding("p95 ms", figures["p95_ms"], "", passed=made > 0),
        finding(
            "p99 ms",
            figures["p99_ms"],
            f"< {phase.p99_ms:g}",
            passed=figures["p99_ms"] < phase.p99_ms,
        ),
        finding(
            "accuracy",
            figures["accuracy"],
            f">= {MIN_ACCURACY:g}",
            passed=figures["accuracy"] >= MIN_ACCURACY,
        ),
        finding(
            "share refused (429, 503)",
            figures["shed_frac"],
            f"<= {slo.error_frac:g}",
            passed=figures["shed_frac"] <= slo.error_frac,
        ),
    ]


def summarise(log: Log, duration_s: float) -> dict[str, float]:
    """The figures of a stretch. Latencies are of the requests answered 200; inf if none was."""
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
    """The figures of every second, for the plots."""
    rows = []
    last_s = int(log.at_s.max()) + 1 if len(log.at_s) else 0
    for second in range(last_s):
        window = _between(log, Phase("", second, second + 1, 0.0, 0.0))
        rows.append({"at_s": second} | summarise(window, 1.0))
    return rows


def concat(logs: list[Log]) -> Log:
    """Several logs as one."""
    return Log(*(np.concatenate([getattr(one, name) for one in logs]) for name in Log.__slots__))


def finite(value: float) -> float | None:
    """For JSON, which has no infinity."""
    return value if np.isfinite(value) else None
