"""Mail whose truth is known: reads with calibrated confidences, marked, audited and keyed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from capture.archive import PARQUET, encode, partition, sample_key
from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.parquet_schema import SCHEMA
from contract.facility_day import DAY

FIRST = datetime(2026, 11, 2, tzinfo=UTC)


def draw(
    num,
    rng,
    *,
    threshold,
    audit_frac,
    garbage_threshold=-3.0,
    version="7",
    hard_frac=0.2,
    num_sites=1,
):
    """Reads of one day, each with its truth.

    Most crops are easy; of the hard ones the confidence is spread, and as many are wrong as the
    confidence says.
    """
    is_hard = rng.random(num) < hard_frac
    confidence = np.where(is_hard, rng.uniform(0.5, 1, num), 1 - rng.exponential(2e-4, num))
    confidence = np.clip(confidence, 0.1, 1).astype(np.float32)
    digit = rng.integers(0, 10, num)
    truth = np.where(rng.random(num) < 1 - confidence, (digit + 1) % 10, digit)
    garbage = np.where(rng.random(num) < 0.02, 0.0, -6.0).astype(np.float32)
    accepted = (confidence >= np.float32(threshold)) & (garbage <= garbage_threshold)
    marked = accepted & (rng.random(num) < audit_frac)
    return pd.DataFrame(
        {
            "crop_index": 0,
            "site": [f"site {n % num_sites}" for n in range(num)],
            "hour": rng.choice(24, num, p=np.array(DAY) / sum(DAY)),
            "model_version": version,
            "digit": digit,
            "confidence": confidence,
            "accepted": accepted,
            "rejected_because": np.where(accepted, None, "low_confidence"),
            "threshold": np.float32(threshold),
            "garbage": garbage,
            "audit_probability": np.where(marked, np.float32(audit_frac), np.float32(0)),
            "is_bulk": False,
            "is_field": False,
            "truth": truth,
        }
    )


def store_day(store, frame, day, rng):
    """Write a day of reads as the shipper's rows, one file for each site; returns their ids."""
    at = FIRST + timedelta(day)
    times = [
        at + timedelta(hours=int(hour), microseconds=int(us))
        for hour, us in zip(frame["hour"], rng.integers(0, 3_600_000_000, len(frame)), strict=True)
    ]
    ids = [_read_id(time, rng) for time in times]
    frame = frame.assign(read_id=ids, request_id=ids, time=times)
    frame["sample_key"] = [sample_key(one, 0) for one in ids]
    for site, rows in frame.groupby("site"):
        columns = [
            pa.array(rows[field.name], field.type, from_pandas=True)
            if field.name in rows
            else pa.nulls(len(rows), field.type)
            for field in SCHEMA
        ]
        key = f"{partition(at.date().isoformat(), site)}/{int(at.timestamp() * 1e6)}-1.parquet"
        store.put(key, encode(pa.table(columns, schema=SCHEMA)), content_type=PARQUET)
    return frame


def _read_id(time, rng):
    stamp = int(time.timestamp() * 1e3)
    low = int(rng.integers(0, 1 << 62, dtype=np.uint64))
    return str(uuid.UUID(int=(stamp << 80) | (7 << 76) | (int(rng.integers(1 << 12)) << 64) |
                         (2 << 62) | low))  # fmt: skip


def key_by_people(store, frame, *, rejects=1.0, rng=None):
    """Label the marked crops as audits, and a share of the rejected ones."""
    is_marked = frame["audit_probability"] > 0
    is_keyed = ~frame["accepted"]
    if rng is not None:
        is_keyed &= rng.random(len(frame)) < rejects
    chosen = frame[is_marked | is_keyed]
    events = [
        LabelEvent(
            row.read_id,
            0,
            str(row.truth),
            "anna",
            int(row.time.timestamp() * 1e6),
            "audit" if row.audit_probability > 0 else "keyed",
        )
        for row in chosen.itertuples()
    ]
    add_events(store, events)
