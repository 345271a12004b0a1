"""The benchmark's targets: each is one figure of one run, with its limit. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from loadtest.bench.catalog import CAPTURING, SHADOWED, UNDER_BENTOML
from loadtest.bench.crop_sets import LABELS, MNIST, SCANNED
from loadtest.servers import OURS

Rows = Mapping[str, Mapping[str, Any]]

DOCUMENTED: Final = "bentoml"
ASYNC: Final = "fastapi-async"
RATES: Final = {SCANNED: (8.0, 2.0), MNIST: (13.0, 2.3)}  # over BentoML; over the fastest peer
LEVEL: Final = 1.1  # p99 of a calm load differs by a tenth between two runs of one server
PACKED: Final = 0.70
BULK_SHARES: Final = {
    "parquet_files": 0.90,
    "parquet_arrays": 0.90,
    "files_28": 0.85,
    "files_scanned": 0.85,
}
RAY: Final = 1.6
SHADOW_ON: Final = 0.95  # a challenger must cost no more than the rounds scatter
CAPTURE_ON: Final = 0.90
DECODE_US: Final = 70.0


@dataclass(frozen=True, slots=True)
class Target:
    """One figure, and the limit that it should keep."""

    what: str
    value: float
    sign: Literal[">=", "<="]
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the figure keeps its limit."""
        rounded = round(self.value, 3)  # 2.2 over 2 is 1.1
        return rounded >= self.limit if self.sign == ">=" else rounded <= self.limit

    @property
    def shown(self) -> str:
        """The figure with its unit."""
        return (
            f"{self.value:.2f}{self.unit}" if self.unit == "x" else f"{self.value:.0f}{self.unit}"
        )


def measured_targets(parts: Mapping[str, Any]) -> Iterator[Target]:
    """The targets whose figures were measured."""
    saturation: Rows = parts.get("saturation", {}).get("rows", {})
    for crops, (over_documented, over_fastest) in RATES.items():
        rate = f"rps_{crops}"
        documented = ratio_of(saturation, OURS, DOCUMENTED, rate)
        if documented:
            what = f"{LABELS[crops]}: rate over BentoML's, the documented way"
            yield Target(what, documented, ">=", over_documented, "x")
        peer = fastest_peer(saturation, rate)
        fastest = ratio_of(saturation, OURS, peer, rate) if peer else None
        if fastest:
            what = f"{LABELS[crops]}: rate over the fastest peer's ({peer})"
            yield Target(what, fastest, ">=", over_fastest, "x")
    p99 = ratio_of(parts.get("latency", {}).get("rows", {}), OURS, ASYNC, "p99_ms")
    if p99:
        what = "100 requests/s: p99 over FastAPI's, async handler"
        yield Target(what, p99, "<=", LEVEL, "x")
    bulk: Rows = parts.get("crops", {}).get("rows", {})
    if OURS in bulk:
        shares = bulk[OURS]
        share = median(shares, "packed_256") / median(shares, "bare_packed")
        yield Target(
            "256 packed crops: share of a bare loop", 100 * share, ">=", 100 * PACKED, " %"
        )
    yield from _bulk_targets(parts.get("bulk", {}).get("rows", {}))
    for crops in RATES:
        kept = ratio_of(saturation, CAPTURING, OURS, f"rps_{crops}")
        if kept:
            what = f"{LABELS[crops]}: rate with capture, of that without"
            yield Target(what, 100 * kept, ">=", 100 * CAPTURE_ON, " %")
    yield from _shadow_targets(saturation, parts.get("latency", {}).get("rows", {}))
    decode_us = parts.get("stages", {}).get("rows", {}).get("decode_us_noisy_128_png")
    if decode_us:
        yield Target("decode a noisy 128 px PNG", decode_us, "<=", DECODE_US, " us")


def _bulk_targets(jobs: Rows) -> Iterator[Target]:
    """What a bulk job keeps of the bare loop, and what a second core brings."""
    for name, limit in BULK_SHARES.items():
        if name in jobs:
            what = f"bulk job, {name.replace('_', ' ')}: share of a bare loop"
            yield Target(what, 100 * median(jobs[name], "share"), ">=", 100 * limit, " %")
    rates = jobs.get("engines", {})
    if "ray_ours" in rates:
        over_one = median(rates, "ray_ours") / median(rates, "one_process")
        yield Target("bulk job on two Ray nodes, over one process", over_one, ">=", RAY, "x")


def _shadow_targets(saturation: Rows, latency: Rows) -> Iterator[Target]:
    """What a challenger costs the champion."""
    for crops in RATES:
        kept = ratio_of(saturation, SHADOWED, OURS, f"rps_{crops}")
        if kept:
            what = f"{LABELS[crops]}: rate with a challenger, of that without"
            yield Target(what, 100 * kept, ">=", 100 * SHADOW_ON, " %")
    p99 = ratio_of(latency, SHADOWED, OURS, "p99_ms")
    if p99:
        what = "100 requests/s: p99 with a challenger over that without"
        yield Target(what, p99, "<=", LEVEL, "x")


def fastest_peer(rows: Rows, figure: str) -> str | None:
    """The server of another make with the highest figure."""
    peers = [name for name in rows if name not in (OURS, CAPTURING, SHADOWED, UNDER_BENTOML)]
    measured = [name for name in peers if figure in rows[name]]
    return max(measured, key=lambda name: median(rows[name], figure), default=None)


def ratio_of(rows: Rows, over: str, under: str, figure: str) -> float | None:
    """One server's median over another's; None where one was not measured."""
    if not all(name in rows and figure in rows[name] for name in (over, under)):
        return None
    below = median(rows[under], figure)
    return median(rows[over], figure) / below if below else None


def median(row: Mapping[str, Any], name: str) -> float:
    """A figure's median over the rounds."""
    return float(row[name]["median"])
