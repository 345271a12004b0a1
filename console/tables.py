"""The tables of the console's database. A change of them needs a migration in `migrations/`.

Labels are no table: they go into the spool as every label event does, and outlive this database.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Of every table."""


class SessionRow(Base):
    """Somebody who is signed in."""

    __tablename__ = "sessions"

    token_sha256: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    who: Mapped[str] = mapped_column(Text)
    key_sha256: Mapped[bytes | None] = mapped_column(LargeBinary(32))  # None: no keys in force
    csrf: Mapped[str] = mapped_column(Text)
    expires_us: Mapped[int] = mapped_column(BigInteger)


class AuditRow(Base):
    """One write, by whom and when. Only ever added."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("audit_log_by_time", "at_us"),)

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at_us: Mapped[int] = mapped_column(BigInteger)  # microseconds since 1970
    who: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)  # site of the key
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    details: Mapped[str] = mapped_column(Text)  # JSON object


class ActionRow(Base):
    """A command that somebody asked for: to promote, roll back, or adopt a reference."""

    __tablename__ = "actions"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)  # candidate, version or days
    why: Mapped[str] = mapped_column(Text)
    who: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)  # site of the key
    arguments: Mapped[str] = mapped_column(Text)  # JSON list, the program first
    about: Mapped[str] = mapped_column(Text)  # the models that it was asked about
    state: Mapped[str] = mapped_column(Text)
    slot: Mapped[int | None] = mapped_column(Integer, unique=True)  # 1 while it runs: one at a time
    asked_us: Mapped[int] = mapped_column(BigInteger)
    seen_us: Mapped[int] = mapped_column(BigInteger)  # when its console last saw it run
    exit_code: Mapped[int | None] = mapped_column(Integer)
    output: Mapped[str] = mapped_column(Text)  # the last lines
