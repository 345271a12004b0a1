"""Any number of crops as one Parquet data set, for long bulk jobs: `python -m loadtest crops`.

Each crop is a digit with a place, paper, ink and grain of its own, as a 40 px PNG outside of
MNIST's frame, so that a reader decodes and frames it. The same numbers give the same bytes.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from loadtest import command_line, digit_crops

SIDE_PX: Final = 40
DIGIT_PX: Final = 28
AT_ONCE: Final = 10_000  # rows of a row group: what is in memory
PER_FILE: Final = 100_000
IDX_HEADER_BYTES: Final = 16  # of MNIST's image files
COLUMNS: Final = pa.schema([("name", pa.string()), ("crop", pa.binary()), ("digit_of", pa.int32())])


def main(arguments: list[str]) -> int:
    """Write the files."""
    parser = command_line.parser("crops", __doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the Parquet files (no default)"
    )
    parser.add_argument(
        "--digits",
        type=Path,
        help="MNIST's train-images-idx3-ubyte, unpacked (default: the 200 shipped crops)",
    )
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, chosen.rows, PER_FILE)):
        rows = min(PER_FILE, chosen.rows - start)
        path = chosen.out / f"crops-{number:04d}.parquet"
        with pq.ParquetWriter(path, COLUMNS, compression="none") as writer:
            for table in tables(digits_of(chosen.digits), start, rows):
                writer.write_table(table)
    return 0


def digits_of(idx: Path | None) -> NDArray[np.uint8]:
    """(N, 28, 28) uint8, ink bright: MNIST's file, or the shipped crops."""
    if idx is not None:
        return np.fromfile(idx, np.uint8, offset=IDX_HEADER_BYTES).reshape(-1, DIGIT_PX, DIGIT_PX)
    return np.stack([crop.pixels() for crop in digit_crops.workload(DIGIT_PX, 200)])


def tables(digits: NDArray[np.uint8], start: int, num_rows: int) -> Iterator[pa.Table]:
    """Rows from `start` on, 10,000 at a time; a row depends on its number and the digits only."""
    for first in range(start, start + num_rows, AT_ONCE):
        number = min(AT_ONCE, start + num_rows - first)
        rng = np.random.default_rng([7, first])
        chosen = rng.integers(0, len(digits), number)
        names = [f"crop-{row:08d}" for row in range(first, first + number)]
        files = [_png(grey) for grey in on_paper(digits[chosen], rng)]
        yield pa.table([names, files, chosen.astype(np.int32)], schema=COLUMNS)


def on_paper(digits: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """(N, 28, 28) digits -> (N, 40, 40) crops, dark ink on light paper with grain."""
    number = len(digits)
    ink = np.zeros((number, SIDE_PX, SIDE_PX), np.float32)
    tops, lefts = rng.integers(0, SIDE_PX - DIGIT_PX + 1, (2, number))
    for canvas, digit, top, left in zip(ink, digits, tops, lefts, strict=True):
        canvas[top : top + DIGIT_PX, left : left + DIGIT_PX] = digit
    paper = rng.uniform(190, 245, (number, 1, 1)).astype(np.float32)
    darkness = rng.uniform(0.6, 0.9, (number, 1, 1)).astype(np.float32)
    grain = rng.integers(-1, 2, ink.shape, dtype=np.int8)
    grey: NDArray[np.uint8] = (paper * (1 - darkness * ink / 255) + grain).astype(np.uint8)
    return grey


def _png(grey: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", compress_level=1)
    return file.getvalue()
