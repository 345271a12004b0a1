"""Measure the memory and time that a report needs to read 3, 10 and 30 days of records.

Writes 30 days of ten sites with generated rows, pictures included, into a temporary folder. Reads
them as a report does, each window in its own process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from capture import archive
from capture.parquet_schema import SCHEMA
from capture.sampling import read_sample
from capture.store import open_store
from monitoring import drift, report

FIRST: Final = date(2026, 10, 1)
NUM_DAYS: Final = 30
NUM_SITES: Final = 10
WINDOWS_DAYS: Final = (3, 10, 30)
PNG_BYTES: Final = 600


def make(folder: str, num_rows: int) -> None:
    """Write the archive: one file for each site and day."""
    rng = np.random.default_rng(0)
    store = open_store(folder)
    for number in range(NUM_DAYS * NUM_SITES):
        day, site = FIRST + timedelta(number // NUM_SITES), f"site {number % NUM_SITES}"
        columns = [column(field, num_rows, number, rng) for field in SCHEMA]
        data = archive.encode(pa.table(columns, schema=SCHEMA))
        key = f"{archive.partition(str(day), site)}/made.parquet"
        store.put(key, data, content_type=archive.PARQUET)


def column(field: Any, num_rows: int, number: int, rng: np.random.Generator) -> Any:
    """Generate one column of the record schema: a `pyarrow.Array` for a `pyarrow.Field`."""
    if field.name in ("read_id", "request_id"):
        return pa.array([f"{number}-{row}" for row in range(num_rows)])
    if field.name == "sample_key":
        return pa.array(rng.integers(0, 2**32, num_rows))
    if field.type == pa.binary():
        return pa.array([rng.bytes(PNG_BYTES)] * num_rows)
    if pa.types.is_list(field.type):
        return pa.array([[0.1] * 10] * num_rows, field.type)
    if pa.types.is_string(field.type):
        return pa.array(["3"] * num_rows)
    if pa.types.is_floating(field.type):
        return pa.array(rng.random(num_rows, np.float32))
    return pa.array(rng.integers(0, 2, num_rows)).cast(field.type)


def read(folder: str, num_days: int) -> str:
    """Read the first days as a report does, and return its time and memory as text."""
    before_mb = peak_mb()
    start_s = time.perf_counter()
    sample = read_sample(
        open_store(folder),
        archive.Window(FIRST, FIRST + timedelta(num_days - 1)),
        columns=drift.CAPTURE_COLUMNS,
        max_rows=report.MAX_ROWS,
        min_rows_per_site=report.MIN_ROWS_PER_SITE,
    )
    return (
        f"{num_days} days: {sample.num_stored:,} stored, {len(sample.rows):,} read in "
        f"{time.perf_counter() - start_s:.1f} s, memory {before_mb:.0f} -> {peak_mb():.0f} MB"
    )


def peak_mb() -> float:
    """Peak memory of this process. getrusage would include the peak of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)) / 1024


def main() -> None:
    """Write the archive, then read each window in its own process."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring.studies.scale",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each site on each day")
    parser.add_argument("--read", nargs=2, metavar=("FOLDER", "DAYS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(read(options.read[0], int(options.read[1])))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(folder, options.rows)
        for num_days in WINDOWS_DAYS:
            command = [sys.executable, "-m", "monitoring.studies.scale"]
            command += ["--read", folder, str(num_days)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
