"""A console over empty stores, and browsers that are signed in to it."""

import json
import re
import time

import pytest
from action_world import fake, tools
from own_console import start_console  # noqa: F401 - a fixture
from starlette.testclient import TestClient

from capture.store import open_store
from console.application import make_app
from console.config import from_environment
from console.database import open_database
from console.visit import Console
from serving.edge.key_ring import new_key, parse_keys

__all__ = ["fake", "tools"]

SCOPES = ["label", "review", "admin"]


@pytest.fixture
def key_of():
    """Scope -> a key that has it and no other."""
    return {}


@pytest.fixture
def console(tmp_path, key_of):
    entries = []
    for scope in SCOPES:
        key_of[scope], entry = new_key(scope, [scope], None)
        entries.append(entry)
    key_of["all"], entry = new_key("office", SCOPES, None)
    keys = parse_keys(json.dumps({"keys": [*entries, entry]}), time.time())
    settings = from_environment(
        {
            "DIGITS_CAPTURE_DIR": str(tmp_path / "spool"),
            "DIGITS_CAPTURE_STORE": str(tmp_path / "captures"),
            "DIGITS_REPORTS": str(tmp_path / "reports"),
            "DIGITS_DATA_STORE": str(tmp_path / "data"),
            "DIGITS_MODEL_STORE": str(tmp_path / "models"),
            "DIGITS_TRAINING_WORK": str(tmp_path / "train"),
            "DIGITS_CONSOLE_DATABASE": f"sqlite:///{tmp_path / 'console.db'}",
        }
    )
    made = Console(
        settings=settings,
        database=open_database(settings.database),
        archive=open_store(settings.capture.store),
        reports=open_store(settings.capture.reports),
        data=open_store(settings.capture.data),
        models=open_store(settings.capture.models),
        keys=lambda: keys,
        is_local_only=False,
    )
    yield made
    made.database.dispose()


@pytest.fixture
def sign_in(console, key_of):
    """sign_in(pages, scope, who) -> a client with a session; `client.csrf` is its token."""

    def open_client(pages, scope="all", who="anna"):
        client = TestClient(make_app(console, pages), base_url="http://localhost")
        client.post("/sign-in", data={"who": who, "key": key_of[scope]})
        found = re.search(r'name="csrf" value="([^"]+)"', client.get("/log").text)
        client.csrf = found.group(1) if found else ""
        return client

    return open_client
