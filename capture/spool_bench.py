"""Times appending to the spool, which delays every answer, and shipping, which does not."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capture.record import CaptureRecord
from capture.spool import Spool

BUDGET_US = 40.0
_NUM_APPENDS = 5_000
_NUM_RECORDS = 50
_NUM_SHIPPED = 1_000
_TOGETHER = 16  # a batch of a busy service


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds that appending takes for each record."""

    crop_side_px: int
    num_together: int  # records in one write
    median_us: float
    p99_us: float

    def __str__(self) -> str:
        return (
            f"append, {self.num_together} at a time, crop {self.crop_side_px}x{self.crop_side_px}: "
            f"median {self.median_us:.1f} us, p99 {self.p99_us:.1f} us (budget {BUDGET_US:.0f} us)"
        )


def run(folder: Path | None) -> list[Timing]:
    """Append many records with small and large crops to a spool in a temporary folder, singly."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        return [_time(Path(scratch) / str(side), side, 1) for side in (28, 128)]


def run_together(folder: Path | None) -> list[Timing]:
    """The same with records written together, as a busy service does."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        return [_time(Path(scratch) / str(side), side, _TOGETHER) for side in (28, 128)]


def ship_ms() -> dict[int, float]:
    """Milliseconds of the shipper for one record, by the crop's side, on crops of pure noise."""
    from capture import archive, rows

    taken = {}
    for side in (28, 128):
        made = [_make(number, side) for number in range(_NUM_SHIPPED)]
        start_s = time.perf_counter()
        archive.encode(rows.to_table(made))
        taken[side] = (time.perf_counter() - start_s) * 1000 / _NUM_SHIPPED
    return taken


def _time(folder: Path, crop_side_px: int, num_together: int) -> Timing:
    spool = Spool(folder)
    made = [_make(number, crop_side_px) for number in range(_NUM_RECORDS)]
    taken_ns = []
    for first in range(0, _NUM_APPENDS, num_together):
        some = [made[(first + number) % _NUM_RECORDS] for number in range(num_together)]
        start_ns = time.perf_counter_ns()
        spool.append_frames([spool.frame(record) for record in some])
        taken_ns.append((time.perf_counter_ns() - start_ns) / num_together)
    spool.close()
    median_us, p99_us = np.quantile(taken_ns, (0.5, 0.99)) / 1000
    return Timing(crop_side_px, num_together, float(median_us), float(p99_us))


def _make(number: int, crop_side_px: int) -> CaptureRecord:
    rng = np.random.default_rng(number)
    return CaptureRecord(
        request_id=f"0193465c-5800-7000-8000-{number:012d}",
        index=0,
        time_us=time.time_ns() // 1000,
        site="leeds",
        model_version="3",
        digit=3,
        confidence=0.98,
        accepted=True,
        rejected_because=None,
        threshold=0.9,
        garbage=-3.0,
        probs=(0.1,) * 10,
        image=rng.integers(0, 256, (28, 28), dtype=np.uint8),
        crop=rng.integers(0, 256, (crop_side_px, crop_side_px), dtype=np.uint8),
        inverted=False,
        passed_through=False,
        num_parts=1,
        num_dropped=0,
        aspect=0.7,
        edges_touched=0,
        guard_ms=0.01,
        decode_ms=0.05,
        preprocess_ms=0.06,
        queue_ms=0.1,
        inference_ms=0.06,
        decision_ms=0.01,
        total_ms=0.4,
    )
