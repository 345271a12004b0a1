"""Opening and migrating the console's database."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.exc import OperationalError

from console import database as database_module
from console.database import DatabaseError, open_database
from console.keying import keying_pages, letter_store
from console.keying.room import KeyingRoom
from console.tables import Base
from console.versions import versions_pages

ROOT = Path(__file__).parents[2]
OPEN = "import sys; from console.database import open_database; open_database(sys.argv[1])"


def test_the_migrations_make_the_tables_of_this_code(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'new' / 'console.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_consoles_that_start_together_migrate_once(tmp_path):
    url = f"sqlite:///{tmp_path / 'console.db'}"
    command = [sys.executable, "-c", OPEN, url]
    started = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    mistakes = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, "".join(mistakes)
    engine = open_database(url)
    assert "sessions" in inspect(engine).get_table_names()
    engine.dispose()


def test_a_file_that_is_no_database_is_refused_with_the_setting(tmp_path):
    path = tmp_path / "console.db"
    path.write_text("this is no database" * 100)
    with pytest.raises(DatabaseError, match="DIGITS_CONSOLE_DATABASE=sqlite:///"):
        open_database(f"sqlite:///{path}")


def test_a_refusal_shows_no_password():
    with pytest.raises(DatabaseError) as refused:
        open_database("postgresql+psycopg2://anna:secret@127.0.0.1:1/console")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["nonsense", "mysterydb://x/y"])
def test_an_unfit_url_is_refused_with_an_example(url):
    with pytest.raises(DatabaseError, match="give sqlite:///FILE or"):
        open_database(url)


def test_a_database_of_a_later_version_is_refused(tmp_path):
    path = tmp_path / "console.db"
    open_database(f"sqlite:///{path}").dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(DatabaseError, match="9999"):
        open_database(f"sqlite:///{path}")


@pytest.fixture
def locked(console, sign_in, tools, monkeypatch):
    """locked(pages) -> a browser that is signed in; then another program holds the database."""
    held = []

    def hold(pages):
        monkeypatch.setattr(database_module, "BUSY_S", 0.05)
        monkeypatch.setattr(letter_store, "BUSY_S", 0.05)
        console.database.dispose()
        object.__setattr__(console, "database", open_database(console.settings.database))
        browser = sign_in(pages)
        held.append(sqlite3.connect(console.database.url.database, isolation_level=None))
        held[0].execute("BEGIN EXCLUSIVE")
        return browser

    yield hold
    for one in held:
        one.close()


def test_while_the_database_is_locked_pages_are_shown_and_writes_say_what_to_do(
    locked, console, tools
):
    room = KeyingRoom(console)
    browser = locked([*keying_pages.pages(room), *versions_pages.pages(tools)])
    for path in ("/models", "/log", "/keying", "/keying/own"):
        assert browser.get(path).status_code == 200, path
    sent = {"labels": [{"read_id": "a", "crop_index": 0, "label": "7", "when_us": 10**15}]}
    csrf = {"x-csrf-token": browser.csrf}
    for answer in (
        browser.post("/keying/labels", json=sent, headers=csrf),
        browser.post("/keying/leases", json={"read_ids": [], "action": "release"}, headers=csrf),
        browser.get("/keying/letters", headers={"accept": "application/json"}),
    ):
        assert answer.status_code == 503
        assert "Another program has held the console's database" in answer.json()["detail"]


def test_a_write_does_not_queue_behind_others_that_wait_for_the_database(console, monkeypatch):
    """Each of them may wait as long as SQLite does, and holds a thread."""
    monkeypatch.setattr(letter_store, "BUSY_S", 0.05)
    with (
        letter_store.writing(console),
        pytest.raises(OperationalError, match="locked"),
        letter_store.writing(console),
    ):
        pass
