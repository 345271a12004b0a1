"""The files of a data snapshot: what training and erasure must agree on.

    snapshots/2026-11/train-HASH.parquet   crops that may be trained on
    snapshots/2026-11/test-HASH.parquet    the frozen share, never trained on
    snapshots/2026-11/manifest.json        what they are; written last, so it makes a snapshot whole

The same rows give the same bytes: files have no time in them and are named after their content.
Knows nothing about where rows come from.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from capture.archive import KEY, PARQUET
from capture.store import MissingKey, Store

SNAPSHOTS: Final = "snapshots"
MANIFEST: Final = "manifest.json"
JSON: Final = "application/json"
PARTS: Final = ("train", "test")
SCHEMA: Final = pa.schema(
    [
        ("read_id", pa.string()),  # "" for added crops
        ("crop_index", pa.int32()),  # of added crops: the row in what was added
        ("crop_png", pa.binary()),  # as sent; null where captures keep no originals
        ("image_png", pa.binary()),  # 28x28 grey, what the model sees
        ("label", pa.uint8()),
        ("site", pa.string()),
        ("source", pa.string()),  # "captures", or the name of an added set
        ("how", pa.string()),  # keyed | audit | import
        ("who", pa.string()),
        ("weight", pa.float64()),  # 1 / inclusion probability
        ("received_at", pa.timestamp("us", tz="UTC")),
    ]
)
CAPTURES: Final = "captures"  # the source of crops that the service read
COUNTED: Final = ("label", "site", "source", "how")
_MONTH: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def check_month(as_of: str) -> str:
    """Return the month. Raises ValueError: it is not written as 2026-11."""
    if not _MONTH.fullmatch(as_of):
        raise ValueError(f"{as_of!r} is no month; write it as 2026-11")
    return as_of


def months(store: Store) -> list[str]:
    """The months that have a snapshot, oldest first."""
    keys = [key.split("/") for key in store.find(f"{SNAPSHOTS}/")]
    return sorted(key[1] for key in keys if len(key) == 3 and key[2] == MANIFEST)


def read_manifest(store: Store, as_of: str) -> dict[str, Any] | None:
    """The manifest of a month; None where there is no snapshot."""
    try:
        found: dict[str, Any] = json.loads(store.get(f"{SNAPSHOTS}/{as_of}/{MANIFEST}"))
    except MissingKey:
        return None
    return found


def version_of(manifest: Mapping[str, Any]) -> str:
    """The data version: the month and the start of the manifest's sha256."""
    return f"{manifest['as_of']}-{sha256(manifest_bytes(manifest))[:8]}"


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as it is stored."""
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()


def encode_rows(rows: pa.Table) -> bytes:
    """Write rows as Parquet; the same rows give the same bytes, in whatever order they come."""
    order = [(name, "ascending") for name in ("source", *KEY)]
    plain = rows.select(SCHEMA.names).cast(SCHEMA).replace_schema_metadata(None)
    sink = io.BytesIO()
    pq.write_table(plain.sort_by(order).combine_chunks(), sink, compression="zstd")
    return sink.getvalue()


def put_rows(store: Store, as_of: str, part: str, rows: pa.Table) -> dict[str, Any]:
    """Store one part; returns its entry in the manifest."""
    entry, data = describe(part, rows)
    store.put(f"{SNAPSHOTS}/{as_of}/{entry['name']}", data, content_type=PARQUET)
    return entry


def describe(part: str, rows: pa.Table) -> tuple[dict[str, Any], bytes]:
    """The entry of a part in the manifest, and its bytes."""
    data = encode_rows(rows)
    digest = sha256(data)
    name = f"{part}-{digest[:16]}.parquet"
    entry = {"name": name, "rows": rows.num_rows, "bytes": len(data), "sha256": digest}
    return entry | {"counts": counts_of(rows)}, data


def counts_of(rows: pa.Table) -> dict[str, dict[str, int]]:
    """How many rows there are of each label, site, source and way of labelling."""
    return {
        name: {
            str(row["values"]): int(row["counts"]) for row in rows[name].value_counts().to_pylist()
        }
        for name in COUNTED
    }


def read_rows(store: Store, manifest: Mapping[str, Any], part: str) -> pa.Table:
    """Read one part of a snapshot.

    Raises:
        ValueError: the file is not the one that the manifest names.
        MissingKey, StoreError: it cannot be read.
    """
    entry = manifest["files"][part]
    key = f"{SNAPSHOTS}/{manifest['as_of']}/{entry['name']}"
    data = store.get(key)
    if sha256(data) != entry["sha256"]:
        raise ValueError(
            f"{store.url}/{key} has sha256 {sha256(data)}, its manifest says {entry['sha256']}; "
            "restore the file from a backup"
        )
    return pq.read_table(io.BytesIO(data))


def sha256(data: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()
