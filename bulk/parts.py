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

from bulk.crop_reading import Outcome
from bulk.inputs import Crop
from capture.archive import PARQUET
from capture.rows import to_png
from capture.store import Store
from model.decision import Decision

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
_UNREAD: Final = Decision(None, 0.0, None, (), ())  # stands in for an error
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
    names: Sequence[str],
    outcomes: Sequence[Outcome],
    version: str,
    inputs: Sequence[Crop] | None,
) -> pa.RecordBatch:
    """The rows of a few inputs; with `inputs` these are kept, pixels as PNG."""
    read = [one if isinstance(one, Decision) else _UNREAD for one in outcomes]
    digits, confidences, rejections, _, _ = zip(*read, strict=True)
    errors = [None if isinstance(one, Decision) else _text(one) for one in outcomes]
    error = pa.array(errors, pa.string())
    rejected_because = pa.array(rejections, pa.string())
    columns: list[Any] = [
        pa.array(_utf8_names(names), pa.string()),
        pa.array(digits, pa.int8()),
        pc.if_else(error.is_null(), pa.array(confidences, pa.float32()), None),
        pc.and_(rejected_because.is_null(), error.is_null()),
        rejected_because,
        _candidates(read, error),
        pa.repeat(version, len(names)),
        error,
    ]
    if inputs is None:
        return pa.record_batch(columns, schema=SCHEMA)
    kept = pa.array([_kept(one) for one in inputs], pa.binary())
    return pa.record_batch([*columns, kept], schema=SCHEMA.append(INPUT))


def _candidates(read: Sequence[Decision], error: pa.Array) -> pa.Array:
    """The five most probable digits of each; null where there is no answer, empty where blank."""
    ranked = [one for one in read if one.ranking]
    lengths = [TOP if one.ranking else 0 for one in read]
    digits: NDArray[np.int8] = np.array([one.ranking[:TOP] for one in ranked], np.int8)
    probs = np.array([one.probs for one in ranked], np.float32)
    tops = np.take_along_axis(probs, digits.astype(np.intp), axis=1) if ranked else probs
    values = pa.StructArray.from_arrays(
        [pa.array(digits.reshape(-1)), pa.array(tops.reshape(-1))], fields=list(_CANDIDATE)
    )
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), values, mask=error.is_valid())


def _text(error: Exception) -> str:
    return _utf8(f"{type(error).__name__}: {error}")


def _utf8_names(names: Sequence[str]) -> list[str]:
    return [name if name.isascii() else _utf8(name) for name in names]


def _utf8(text: str) -> str:
    """The same, with ? for what came from a file's name that is no UTF-8."""
    return text.encode(errors="replace").decode()


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
