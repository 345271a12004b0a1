"""Fixtures: made records, and stores: a folder, or an S3 on loopback that refuses when told."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator

import boto3
import pytest
from made_records import make

from capture.record import CaptureRecord
from capture.store import Store, open_store

MakeRecord = Callable[..., CaptureRecord]


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
