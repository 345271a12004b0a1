"""Alembic's entry: runs the migrations on the connection that `console.database` gives."""

from alembic import context
from sqlalchemy import Connection, text

from console.tables import Base

_LOCK = 4_208_133  # of PostgreSQL: of two consoles that start, one migrates


def _run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    context.configure(connection=connection, target_metadata=Base.metadata)
    context.run_migrations()
    connection.commit()


_run(context.config.attributes["connection"])
