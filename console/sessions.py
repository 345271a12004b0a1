"""Who is signed in: a key of the service and a person's name, kept as a session.

The cookie holds a random token; the database holds its hash. A session ends after a working day,
with its key, or at sign-out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from console.tables import SessionRow
from serving.edge.key_ring import ANONYMOUS, SCOPES, Key, KeyRing
from serving.key_scope import KeyScope

LIFETIME_S: Final = 12 * 3600
# A session that ends later was begun by a clock that was set back since: it would last for as long.
_LONGEST_US: Final = (LIFETIME_S + 7200) * 1_000_000
MAX_NAME_CHARS: Final = 40
_TOKEN_BYTES: Final = 32


class SignInError(Exception):
    """Why somebody cannot sign in; the text is for them."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The person of a request."""

    who: str  # in labels and in the audit log
    source: str  # site of the key
    scopes: frozenset[KeyScope]
    csrf: str  # each write must repeat it


def sign_in(
    database: Session, keys: KeyRing | None, *, key: str, who: str, now_us: int
) -> tuple[str, SignedIn]:
    """Open a session; returns the cookie's token and the person.

    Args:
        database: an open transaction.
        keys: in force; None: no key is needed.
        key: what the person typed.
        who: the person's name or number.
        now_us: microseconds since 1970.

    Raises:
        SignInError: the name or the key is unfit.
    """
    name = who.strip()
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise SignInError(
            f"Give a name or number of 1 to {MAX_NAME_CHARS} characters; yours has {len(name)}."
        )
    found: Key | None = None
    if keys is not None:
        found = keys.find(key.strip().encode())
        if found is None or not found.is_live(now_us / 1e6):
            raise SignInError("This key is not known or has expired; ask whoever gives out keys.")
        if found.scopes <= {"predict"}:
            raise SignInError(
                "This key may only read crops; ask for one with the scope label, review or admin."
            )
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    row = SessionRow(
        token_sha256=_hash(token),
        who=name,
        key_sha256=None if found is None else found.sha256,
        csrf=secrets.token_urlsafe(_TOKEN_BYTES),
        expires_us=now_us + LIFETIME_S * 1_000_000,
    )
    database.execute(delete(SessionRow).where(SessionRow.expires_us < now_us))
    database.add(row)
    return token, _person(row, found)


def find(
    database: Session, keys: KeyRing | None, token: str | None, *, now_us: int
) -> SignedIn | None:
    """The person of a cookie's token; None if the session, or its key, is no longer live."""
    if not token:
        return None
    row = database.scalar(select(SessionRow).where(SessionRow.token_sha256 == _hash(token)))
    if row is None or not now_us <= row.expires_us <= now_us + _LONGEST_US:
        return None
    if keys is None:
        return _person(row, None) if row.key_sha256 is None else None
    key = None if row.key_sha256 is None else keys.of_hash(row.key_sha256)
    return _person(row, key) if key is not None and key.is_live(now_us / 1e6) else None


class RecentSessions:
    """Sessions that were found a moment ago, so that not every key of a keyer asks the database.

    A session that ends at another console is found for up to two more seconds.
    """

    _MAX_AGE_US: Final = 2_000_000
    _MAX_KEPT: Final = 1_000

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, KeyRing | None, SignedIn]] = {}

    def cached(self, keys: KeyRing | None, token: str | None, *, now_us: int) -> SignedIn | None:
        """The person, if the token was found a moment ago; touches no database."""
        found_us, ring, person = self._found.get(token or "", (0, None, None))
        if person is None or ring is not keys or not 0 <= now_us - found_us < self._MAX_AGE_US:
            return None
        return person

    def find(
        self,
        transaction: Callable[[], Session],
        keys: KeyRing | None,
        token: str | None,
        *,
        now_us: int,
    ) -> SignedIn | None:
        """As the function `find`, in a transaction of its own, and kept for a moment."""
        with transaction() as database:
            person = find(database, keys, token, now_us=now_us)
        if person is not None and token is not None:
            if len(self._found) >= self._MAX_KEPT:
                self._found.clear()
            self._found[token] = (now_us, keys, person)
        return person

    def forget(self, token: str) -> None:
        """End a session here at once."""
        self._found.pop(token, None)


def sign_out(database: Session, token: str) -> None:
    """End a session."""
    database.execute(delete(SessionRow).where(SessionRow.token_sha256 == _hash(token)))


def _person(row: SessionRow, key: Key | None) -> SignedIn:
    if key is None:
        return SignedIn(row.who, ANONYMOUS, frozenset(SCOPES), row.csrf)
    return SignedIn(
        row.who, key.site, frozenset(one for one in SCOPES if one in key.scopes), row.csrf
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def is_same(given: str, expected: str) -> bool:
    """Compare two tokens in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())
