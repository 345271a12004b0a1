"""API keys and what each may do. Only hashes are stored. `python -m serving.keys` makes entries.

The file that DIGITS_API_KEYS_FILE names has this format:

    {"keys": [{"site": "berlin-1", "sha256": "...", "scopes": ["predict"], "expires": null}]}

A site may have two live keys, so that the new key can be in use before the old one is removed.
"""

import hashlib
import hmac
import json
import secrets
import unicodedata
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import quote

from serving.config import ConfigError, Settings
from serving.edge import key_store
from serving.key_scope import KeyScope
from serving.regular_file import open_regular

SCOPES: Final = get_args(KeyScope)
MAX_LIVE_KEYS: Final = 2
MAX_SITE_BYTES: Final = 250  # the archive's folder is site=NAME, of at most 255 bytes
_UNFIT: Final = ("Cc", "Cs", "Zl", "Zp")  # control, surrogate, line and paragraph separator
ANONYMOUS: Final = "local"  # the site of requests without a key
MAX_FILE_BYTES: Final = 1_048_576  # some 8,000 keys
_SECRET_BYTES: Final = 32


class KeysError(ConfigError):
    """The key file is unfit."""


@dataclass(frozen=True, slots=True)
class Key:
    """The entry of one key. A random 256-bit key needs no salt and no slow hash."""

    site: str
    sha256: bytes
    scopes: frozenset[str]
    expires_s: float | None  # seconds since 1970

    def is_live(self, now_s: float) -> bool:
        """Whether the key has not expired."""
        return self.expires_s is None or now_s < self.expires_s


class KeyRing:
    """The keys in force.

    Raises:
        KeysError: two keys are the same, or a site has more than two live ones.
    """

    def __init__(self, keys: list[Key], now_s: float) -> None:
        self._by_hash = {key.sha256: key for key in keys}
        if len(self._by_hash) != len(keys):
            raise KeysError("two entries have the same sha256; give each key one entry")
        for site, num_live in Counter(key.site for key in keys if key.is_live(now_s)).items():
            if num_live > MAX_LIVE_KEYS:
                raise KeysError(
                    f"site {site!r} has {num_live} live keys; at most {MAX_LIVE_KEYS} are allowed"
                )
        self._secret = secrets.token_bytes(_SECRET_BYTES)
        self._seen: dict[bytes, Key] = {}  # valid keys only, so that guesses do not fill it

    def __eq__(self, other: object) -> bool:
        """Whether both rings have the same entries."""
        return isinstance(other, KeyRing) and self._by_hash == other._by_hash

    @property
    def num_cached(self) -> int:
        """How many keys are cached."""
        return len(self._seen)

    __hash__ = None  # type: ignore[assignment]  # mutable: it caches keys

    def find(self, presented: bytes) -> Key | None:
        """The entry of a presented key, live or not.

        A key that was found before is cached by its BLAKE2 hash under a random secret: Python has
        BLAKE2 built in, and OpenSSL's SHA-256 takes 26 us more for a single request
        (python -m loadtest bench --parts latency).
        """
        cache_key = hashlib.blake2b(presented, key=self._secret).digest()
        key = self._seen.get(cache_key)
        if key is None:
            key = self._find_by_sha256(presented)
            if key is not None:
                self._seen[cache_key] = key
        return key

    def of_hash(self, sha256: bytes) -> Key | None:
        """The entry with this hash, live or not; for a session that was opened with its key."""
        return self._by_hash.get(sha256)

    def _find_by_sha256(self, presented: bytes) -> Key | None:
        """The entry by the hash that the key file stores.

        The time of a dict look-up by hash reveals nothing about a key, and the final comparison
        takes constant time.
        """
        digest = hashlib.sha256(presented).digest()
        key = self._by_hash.get(digest)
        if key is not None and hmac.compare_digest(key.sha256, digest):
            return key
        return None


def new_key(
    site: str, scopes: list[KeyScope], expires: str | None
) -> tuple[str, dict[str, object]]:
    """Make a key: the key, for its user, and its entry, for the key file."""
    key = secrets.token_urlsafe(_SECRET_BYTES)
    while key.startswith("-"):  # command lines would take it for an option
        key = secrets.token_urlsafe(_SECRET_BYTES)
    entry: dict[str, object] = {
        "site": site,
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "scopes": list(scopes),
        "expires": expires,
    }
    return key, entry


def parse_keys(text: str, now_s: float) -> KeyRing:
    """Read the JSON of a key file.

    Raises:
        KeysError: not JSON, or an entry is incomplete; the message names the entry, never a key.
    """
    try:
        entries = json.loads(text, object_pairs_hook=_unique_members)["keys"]
        return KeyRing([_parse_entry(entry, n) for n, entry in enumerate(entries, 1)], now_s)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeysError(
            f"the key file does not have the format that python -m serving.keys writes: {error!r}"
        ) from error


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of two members with one name, readers would choose differently."""
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has one of its members {names[:8]} twice")
    return members


def _parse_entry(entry: dict[str, object], number: int) -> Key:
    site, scopes = _check_site(entry["site"], number), entry["scopes"]
    if not isinstance(scopes, list) or not scopes or not set(scopes) <= set(SCOPES):
        raise KeysError(f"site {site!r}: scopes are {scopes}; choose from {', '.join(SCOPES)}")
    digest = bytes.fromhex(str(entry["sha256"]))
    if len(digest) != hashlib.sha256().digest_size:
        raise KeysError(f"site {site!r}: sha256 must have 64 hex digits")
    expires = entry.get("expires")
    moment = None if expires is None else datetime.fromisoformat(str(expires))
    if moment is not None and moment.tzinfo is None:
        raise KeysError(f"site {site!r}: expires needs a time zone, as in 2027-01-31T00:00:00Z")
    return Key(site, digest, frozenset(scopes), None if moment is None else moment.timestamp())


def _check_site(site: object, number: int) -> str:
    """The name of a site, which becomes a metric label, part of each record and a folder's name.

    Raises:
        KeysError: it cannot be all of these; the message names the entry by its number.
    """
    where = f"entry {number}: the site {str(site)[:40]!r}"
    if not isinstance(site, str) or not site.strip():
        raise KeysError(f"{where} is no name; give a text that is not empty")
    if any(unicodedata.category(char) in _UNFIT for char in site):
        raise KeysError(f"{where} has control characters or half characters; remove them")
    num_bytes = len(quote(site, safe=""))
    if num_bytes > MAX_SITE_BYTES:
        raise KeysError(
            f"{where} has {num_bytes} bytes, with each character but letters, digits and _.-~ "
            f"counted as %XX for each of its bytes; at most {MAX_SITE_BYTES} are allowed"
        )
    return site


def load_keys(settings: Settings, now_s: float) -> KeyRing | None:
    """The keys that the settings name; None if they name none.

    Raises:
        KeysError: the file or the secret cannot be read, or is unfit.
    """
    name = "DIGITS_KEY_STORE"
    try:
        if settings.key_store is not None:
            return parse_keys(_read_store(settings.key_store), now_s)
        name = "DIGITS_API_KEYS_JSON"
        if settings.api_keys_json is not None:
            return parse_keys(settings.api_keys_json.get_secret_value(), now_s)
        name = "DIGITS_API_KEYS_FILE"
        if settings.api_keys_file is not None:
            return parse_keys(read_key_file(settings.api_keys_file), now_s)
    except KeysError as error:
        raise KeysError(f"{name}: {error}") from error
    return None


def _read_store(arn: str) -> str:
    try:
        return key_store.read_secret(arn)
    except (OSError, ValueError, LookupError, TypeError, HTTPException) as error:
        raise KeysError(f"the secret {arn} cannot be read: {error!r}") from error


def read_key_file(path: Path) -> str:
    """The text of a key file.

    Raises:
        KeysError: it cannot be read, is no regular file, or has more than 1 MB.
    """
    try:
        with open_regular(path, MAX_FILE_BYTES) as file:
            return file.read(MAX_FILE_BYTES).decode("utf-8-sig")  # Windows writes a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"{path} cannot be read: {error}") from error
