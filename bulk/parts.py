"""The output: one Parquet file for each shard, a row for each input in the source's order."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bulk.answer_columns import ACCEPTED, REJECTIONS, Answers
from bulk.inputs import Crop
from capture.archive import PARQUET
from capture.rows import to_png
from capture.store import Store

TOP: Final = 5  # candidates, as the service gives by default
_COUNTS: Final = b"digitline_bulk"
_CANDIDATE: Final = pa.struct([("digit", pa.int8()), ("probability", pa.float32())])
SCHEMA: Final = pa.schema(
    [
        ("name", pa.string()),
        ("digit", pa.int8()),  # null: blank, or an error
        ("confidence", pa.float32()),  # as in the archive; null for an error
        ("accepted", pa.bool_()),
        ("rejected_because", pa.string()),
        ("candidates", pa.list_(_CANDIDATE)),
        ("model_version", pa.string()),
        ("error", pa.string()),  # why the input was not read
    ]
)
_REJECTIONS: Final = pa.array(REJECTIONS)
INPUT: Final = pa.field("input", pa.binary())


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the inputs of a part, or of a job."""

    rows: int = 0
    accepted: int = 0
    errors: int = 0
    left_out: int = 0  # further copies of a record, and erased reads
    rejected: dict[str, int] = field(default_factory=dict)  # by reason

    def __add__(self, other: Counts) -> Counts:
        """The sum of two."""
        return Counts(
            self.rows + other.rows,
            self.accepted + other.accepted,
            self.errors + other.errors,
            self.left_out + other.left_out,
            dict(sorted((Counter(self.rejected) + Counter(other.rejected)).items())),
        )


def part_key(index: int) -> str:
    """The file of a shard."""
    return f"part-{index:06d}.parquet"


def index_of(key: str) -> int | None:
    """The shard of a file; None: the file is no part."""
    number = key.removeprefix("part-").removesuffix(".parquet")
    return int(number) if number.isdigit() and key == part_key(int(number)) else None


def to_rows(
    names: Sequence[str], answers: Answers, version: str, inputs: Sequence[Crop] | None
) -> pa.RecordBatch:
    """The rows of a few inputs; with `inputs` these are kept, pixels as PNG."""
    number = len(names)
    unread, failed = np.ones(number, bool), np.zeros(number, bool)
    unread[answers.read] = False
    failed[list(answers.errors)] = True
    digits, confidences = np.zeros(number, np.int8), np.zeros(number, np.float32)
    digits[answers.read] = answers.rankings[:, 0]
    confidences[answers.read] = answers.confidences
    accepted = answers.rejected == ACCEPTED
    reasons = pa.array(answers.rejected, mask=accepted | failed)
    columns: list[Any] = [
        pa.array(_utf8_names(names), pa.string()),
        pa.array(digits, mask=unread),
        pa.array(confidences, mask=failed),
        pa.array(accepted & ~failed),
        _REJECTIONS.take(reasons),
        _candidates(answers, unread, failed),
        pa.repeat(version, number),
        _errors(answers, number),
    ]
    if inputs is None:
        return pa.record_batch(columns, schema=SCHEMA)
    kept = pa.array([_kept(one) for one in inputs], pa.binary())
    return pa.record_batch([*columns, kept], schema=SCHEMA.append(INPUT))


def _candidates(answers: Answers, unread: NDArray[Any], failed: NDArray[Any]) -> pa.Array:
    """The five most probable digits of each; null where there is no answer, empty where blank."""
    digits = answers.rankings[:, :TOP]
    probs = np.take_along_axis(answers.probs, digits, axis=1)
    values = pa.StructArray.from_arrays(
        [pa.array(digits.astype(np.int8).ravel()), pa.array(probs.astype(np.float32).ravel())],
        fields=list(_CANDIDATE),
    )
    ends = np.concatenate([[0], np.cumsum(np.where(unread, 0, TOP))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), values, mask=pa.array(failed))


def _errors(answers: Answers, number: int) -> pa.Array:
    if not answers.errors:
        return pa.nulls(number, pa.string())
    errors = [answers.errors.get(place) for place in range(number)]
    return pa.array([None if one is None else _text(one) for one in errors], pa.string())


def _text(error: Exception) -> str:
    return _utf8(f"{type(error).__name__}: {error}")


def _utf8_names(names: Sequence[str]) -> list[str]:
    return [name if name.isascii() else _utf8(name) for name in names]


def _utf8(text: str) -> str:
    """The same; bytes of a name that are no UTF-8 become a backslash and a number, each its own."""
    return text.encode(errors="backslashreplace").decode()


def _kept(crop: Crop) -> bytes | None:
    if isinstance(crop, Exception):
        return None
    if isinstance(crop, bytes):
        return crop
    if crop.ndim > 2:
        crop = (crop[0] * 255).round().astype(np.uint8)
    return to_png(np.ascontiguousarray(crop))


def write_part(
    store: Store, index: int, batches: Sequence[pa.RecordBatch], schema: pa.Schema, left_out: int
) -> Counts:
    """Write a shard's file whole or not at all. Raises StoreError."""
    table = pa.Table.from_batches(batches, schema)
    counts = _count(table, left_out)
    file = io.BytesIO()
    described = {_COUNTS: json.dumps(asdict(counts)).encode()}
    pq.write_table(table.replace_schema_metadata(described), file, compression="zstd")
    store.put(part_key(index), file.getvalue(), content_type=PARQUET)
    return counts


def _count(table: pa.Table, left_out: int) -> Counts:
    reasons = table["rejected_because"].drop_null().value_counts().to_pylist()
    return Counts(
        rows=table.num_rows,
        accepted=pc.sum(table["accepted"]).as_py() or 0,
        errors=table.num_rows - table["error"].null_count,
        left_out=left_out,
        rejected={one["values"]: one["counts"] for one in reasons},
    )


def read_counts(store: Store, index: int) -> Counts:
    """The counts of a part that is there. Raises OSError."""
    filesystem, root = store.arrow()
    metadata = pq.read_schema(f"{root}/{part_key(index)}", filesystem=filesystem).metadata
    return Counts(**json.loads(metadata[_COUNTS]))
