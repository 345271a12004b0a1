"""Captured records made by hand: seeded, no model, no network."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest

from monitoring.records import CaptureRecord
from monitoring.reference import DARK_INK, LIGHT_INK, NUMERIC, Reference
from monitoring.store import Store, open_store

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MakeRecord = Callable[..., CaptureRecord]


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


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    return make


class Refusals:
    """How many of the next requests S3 refuses, and how."""

    def __init__(self) -> None:
        self.left = 0
        self.status = "500 Internal Server Error"
        self.num_refused = 0

    def start(self, status: str, left: int = 1_000_000) -> None:
        self.status, self.left = status, left

    def stop(self) -> None:
        self.left = 0


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[str, Refusals]]:
    """A real S3 API on loopback (moto) that refuses when told to."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    s3 = DomainDispatcherApplication(create_backend_app)
    refusals = Refusals()

    def sometimes(environ, start_response):
        if refusals.left > 0:
            refusals.left -= 1
            refusals.num_refused += 1
            start_response(refusals.status, [("Content-Length", "0"), ("Connection", "close")])
            return [b""]
        return s3(environ, start_response)

    server = make_server("127.0.0.1", 0, sometimes, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}", refusals
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def s3(s3_server, monkeypatch) -> Iterator[Refusals]:
    """Point boto3 at the server, with an empty bucket `digits`."""
    url, refusals = s3_server
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    refusals.stop()
    refusals.num_refused = 0
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"))
    boto3.client("s3").create_bucket(
        Bucket="digits", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    yield refusals
    refusals.stop()


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path) -> Store:
    """The same tests for both kinds of store."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    request.getfixturevalue("s3")
    return open_store("s3://digits/some/prefix")


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
    rows["request_id"] = [f"{seed}-{n}" for n in range(num)]
    rows["crop_index"] = 0
    return rows


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., pd.DataFrame]:
    return make_rows


@pytest.fixture(scope="session")
def reference() -> Reference:
    rows = make_rows(5_000, seed=99)
    rows["label"] = rows["digit"]
    rows.loc[rows.index[:5], "label"] = "x"  # 0.1 % of reads are wrong
    return Reference(rows, model_version="3", threshold=0.9, garbage_threshold=10.0)
