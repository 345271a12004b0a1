"""The tables of the console's database. A change of them needs a migration in `migrations/`.

Labels go into the spool as every label event does and outlive this database; a vote is a copy.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Float, Index, Integer, LargeBinary, Text
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


class LetterRow(Base):
    """A read that waits for a person, or did; `capture.erasure` and age remove it."""

    __tablename__ = "letters"
    __table_args__ = (
        Index("letters_by_deadline", "closed_us", "deadline_us"),
        Index("letters_by_time", "closed_us", "time_us"),
        Index("letters_by_holder", "leased_by", "lease_until_us"),
    )

    read_id: Mapped[str] = mapped_column(Text, primary_key=True)
    site: Mapped[str] = mapped_column(Text)
    time_us: Mapped[int] = mapped_column(BigInteger)  # when the machine answered
    deadline_us: Mapped[int | None] = mapped_column(BigInteger)  # of the letter, if it has one
    closed_us: Mapped[int | None] = mapped_column(BigInteger)  # None: somebody is still asked
    leased_by: Mapped[str | None] = mapped_column(Text)  # who has it, or had it last
    leased_in: Mapped[str | None] = mapped_column(Text)  # which session of that person
    lease_until_us: Mapped[int] = mapped_column(BigInteger)  # 0: given back, or done


class CropRow(Base):
    """A crop of a letter, with its picture until the letter is dropped."""

    __tablename__ = "crops"

    read_id: Mapped[str] = mapped_column(Text, primary_key=True)
    crop_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    digit: Mapped[str | None] = mapped_column(Text)  # the machine's most probable one
    how: Mapped[str | None] = mapped_column(Text)  # of its labels; None: nobody is asked
    label: Mapped[str | None] = mapped_column(Text)  # settled, or "disputed"; None: not yet
    num_wanted: Mapped[int] = mapped_column(Integer)  # persons that are to label it
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    picture: Mapped[bytes] = mapped_column(LargeBinary)  # PNG


class VoteRow(Base):
    """A person's latest label of a crop: a copy of the event in the spool or the archive."""

    __tablename__ = "votes"
    __table_args__ = (
        Index("votes_by_person", "who", "when_us"),
        Index("votes_by_check", "who", "is_checking", "is_agreed"),
    )

    read_id: Mapped[str] = mapped_column(Text, primary_key=True)
    crop_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    who: Mapped[str] = mapped_column(Text, primary_key=True)
    label: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)  # as the person said it: also two_digits
    when_us: Mapped[int] = mapped_column(BigInteger)
    event_id: Mapped[str] = mapped_column(Text)
    is_undone: Mapped[bool] = mapped_column(Boolean)  # the person wants to key it again
    is_checking: Mapped[bool] = mapped_column(Boolean)  # a second person is to be asked
    is_agreed: Mapped[bool | None] = mapped_column(Boolean)  # with the settled label of several


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
