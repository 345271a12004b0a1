"""The console's database: SQLite in a file by default, PostgreSQL by URL; migrated at start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

_MIGRATIONS = Path(__file__).parent / "migrations"
# Two consoles may write to one SQLite file, each for some milliseconds. Who waits longer gets 503,
# and a keyer's page sends its labels again: a waiting request holds one of 40 threads.
BUSY_S = 2.0


class DatabaseError(Exception):
    """The database cannot be used."""


def open_database(url: str) -> Engine:
    """Connect, and bring the tables to this version.

    Args:
        url: of SQLAlchemy. The folder of an SQLite file is made.

    Raises:
        DatabaseError: it cannot be reached, or is of a later version.
    """
    try:
        parsed = make_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        if is_sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            parsed,
            pool_timeout=BUSY_S,
            pool_pre_ping=not is_sqlite,  # a server may close connections that are idle
            connect_args={"timeout": BUSY_S} if is_sqlite else {},
        )
        if is_sqlite:
            event.listen(engine, "connect", _tune_sqlite)
        migrate(engine)
    except (ArgumentError, SQLAlchemyError, CommandError, OSError, ImportError) as error:
        safe = make_url(url).render_as_string() if "://" in url else url
        raise DatabaseError(
            f"DIGITS_CONSOLE_DATABASE={safe} cannot be used: {error}; give sqlite:///FILE or "
            "postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
        ) from error
    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables to the version of this code."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_locked(error: BaseException) -> bool:
    """Whether another program, or another thread for long, held the database."""
    return isinstance(error, SQLAlchemyError) and "database is locked" in str(error)


def _tune_sqlite(connection: Any, _record: object) -> None:
    """Readers and one writer at a time; an acknowledged write survives kill -9."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
