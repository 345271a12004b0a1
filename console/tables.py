"""The tables of the console's database. A change of them needs a migration in `migrations/`.

Labels are no table: they go into the spool as every label event does, and outlive this database.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, Index, Integer, LargeBinary, Text
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


class LabelRequest(Base):
    """A crop of a site that an analyst wants keyed: one of a random sample of its recent reads."""

    __tablename__ = "label_requests"
    __table_args__ = (Index("label_requests_by_site", "site"),)

    read_id: Mapped[str] = mapped_column(Text, primary_key=True)
    crop_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    site: Mapped[str] = mapped_column(Text)
    asked_by: Mapped[str] = mapped_column(Text)
    asked_us: Mapped[int] = mapped_column(BigInteger)
    probability: Mapped[float] = mapped_column(Float)  # that the sample has this crop
