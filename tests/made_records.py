"""Captured records and prepared rows made by hand: seeded, no model, no network."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from capture.record import CaptureRecord
from capture.reference import DARK_INK, LIGHT_INK, NUMERIC

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def make(number: int = 0, **changes: Any) -> CaptureRecord:
    """One plausible record; `number` decides its id, digit and pixels."""
    rng = np.random.default_rng(number)
    digit = number % 10
    probs = np.full(10, 0.002)
    probs[digit] = 1 - 9 * 0.002
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 10 : 14 + number % 5] = 255
    crop = rng.integers(200, 256, (40, 32), dtype=np.uint8)
    crop[8:32, 12:18] = 20
    known: dict[str, Any] = {
        "request_id": f"0193465c-5800-7000-8000-{number:012d}",
        "index": 0,
        "time_us": int(NOON.timestamp() * 1_000_000) + number,
        "site": "leeds",
        "model_version": "3",
        "digit": digit,
        "confidence": float(probs[digit]),
        "accepted": True,
        "rejected_because": None,
        "threshold": 0.9,
        "garbage": -4.0,
        "probs": tuple(probs.tolist()),
        "image": image,
        "crop": crop,
        "inverted": False,
        "passed_through": False,
        "num_parts": 1,
        "num_dropped": 0,
        "aspect": 0.7,
        "edges_touched": 0,
        "guard_ms": 0.02,
        "decode_ms": 0.05,
        "preprocess_ms": 0.06,
        "queue_ms": 0.1,
        "inference_ms": 0.06,
        "decision_ms": 0.01,
        "total_ms": 0.4,
    }
    return CaptureRecord(**(known | changes))


def make_rows(
    num: int, seed: int = 0, *, sites: int = 1, rejected: float | None = None
) -> pd.DataFrame:
    """Prepared rows as `drift.prepare` gives them: every feature normal, digits even."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({name: rng.normal(0, 1, num).astype(np.float32) for name in NUMERIC})
    is_unsure = rng.random(num) < 0.05
    is_rejected = is_unsure if rejected is None else rng.random(num) < rejected
    rows["confidence"] = np.where(is_unsure, 0.5, 0.99).astype(np.float32)
    rows["garbage"] = np.float32(-5) + rng.normal(0, 1, num).astype(np.float32)
    rows["digit"] = rng.integers(0, 10, num).astype(str)
    rows["label"] = None
    rows["polarity"] = rng.choice([DARK_INK, LIGHT_INK], num, p=[0.9, 0.1])
    rows["accepted"] = ~is_rejected
    rows["rejected_because"] = np.where(is_rejected, "low_confidence", None)
    rows["threshold"] = np.float32(0.9)
    rows["total_ms"] = rng.gamma(2, 1, num).astype(np.float32)
    rows["model_version"] = "3"
    rows["site"] = [f"site {n % sites:02d}" for n in range(num)]
    rows["read_id"] = [f"{seed}-{n}" for n in range(num)]
    rows["crop_index"] = 0
    return rows
