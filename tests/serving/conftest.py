"""The real edge around the tiny champion, in this process."""

import asyncio
import hashlib
import json
import threading
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import structlog
from asgi import Client

from model.classifier import Classifier
from serving import served_model
from serving.build import build_edge
from serving.edge.lifecycle import Lifecycle

PATIENCE_S = 20  # only a broken test waits this long


@pytest.fixture(autouse=True)
def logs(monkeypatch):
    """What the service logs, as a list of dicts."""
    capture = structlog.testing.LogCapture()
    monkeypatch.setattr("serving.build.configure_logging", lambda level: None)
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture.entries
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """Remove the settings of the environment that the tests run in."""
    import os

    for name in list(os.environ):
        if name.startswith(("DIGITS_", "PROMETHEUS_")):
            monkeypatch.delenv(name)


@pytest.fixture
def gate(monkeypatch):
    """The model answers while this event is set; it is set at first."""
    event = threading.Event()
    event.set()

    class GatedClassifier(Classifier):
        def __call__(self, batch):
            assert event.wait(PATIENCE_S)
            return super().__call__(batch)

    monkeypatch.setattr(served_model, "Classifier", GatedClassifier)
    yield event
    event.set()


class Bento:
    """Fake of BentoML's application: records requests and answers 200; replace `respond`."""

    def __init__(self):
        self.calls = []
        self.headers = []  # of the last request
        self.is_started = False
        self.is_stopped = False

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        message = await receive()
        self.calls.append((scope["method"], scope["path"], message["body"]))
        self.headers = scope["headers"]
        await self.respond(scope, receive, send)

    async def respond(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'"from bento"'})

    async def _live(self, receive, send):
        await receive()
        self.is_started = True
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.is_stopped = True
        await send({"type": "lifespan.shutdown.complete"})


@pytest.fixture
def bento():
    return Bento()


@asynccontextmanager
async def living(app):
    """Run an application's lifespan: start-up before the block, shutdown after it."""
    events = asyncio.Queue()
    events.put_nowait({"type": "lifespan.startup"})
    started = asyncio.Event()

    async def send(message):
        if message["type"] == "lifespan.startup.complete":
            started.set()

    life = asyncio.create_task(app({"type": "lifespan"}, events.get, send))
    async with asyncio.timeout(PATIENCE_S):
        await started.wait()
    yield
    events.put_nowait({"type": "lifespan.shutdown"})
    async with asyncio.timeout(PATIENCE_S):
        await life


@pytest.fixture
async def serve(monkeypatch, tiny_champion, bento):
    """Start the service with some settings: `client = await serve(max_batch_size=4)`.

    A test that names no time has a minute, so that a busy machine refuses and ends no request.
    """
    patient = {"max_queue_wait_ms": 60_000, "request_deadline_ms": 60_000}
    async with AsyncExitStack() as running:

        async def start(champion=tiny_champion, *, watches_health=False, **settings):
            if not watches_health:  # its golden crops would mix with the test's crops
                monkeypatch.setattr(Lifecycle, "watch_health", watch_nothing)
            monkeypatch.setenv("DIGITS_CHAMPION", str(champion))
            for name, value in (patient | settings).items():
                monkeypatch.setenv(f"DIGITS_{name.upper()}", str(value))
            edge = build_edge(bento)
            await running.enter_async_context(living(edge))
            return Client(edge)

        yield start


@pytest.fixture
async def client(serve):
    """The service with its default settings, except for time."""
    return await serve()


async def watch_nothing(lifecycle):
    await asyncio.Event().wait()


@pytest.fixture
def key_entry():
    """Make the entry of a key with this text."""

    def make(key, **changes):
        return {
            "site": "berlin-1",
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "scopes": ["predict"],
            "expires": None,
            **changes,
        }

    return make


@pytest.fixture
def keys_json(key_entry):
    """One key of each kind."""
    entries = [
        key_entry("right"),
        key_entry("expired", site="old", expires="2020-01-01T00:00:00Z"),
        key_entry("other scope", site="labelling", scopes=["label"]),
    ]
    return json.dumps({"keys": entries})
