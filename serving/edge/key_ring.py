"""API keys: who may ask what. Only hashes are kept. `python -m serving.keys` makes entries.

The file that DIGITS_API_KEYS_FILE names holds them:

    {"keys": [{"site": "berlin-1", "sha256": "...", "scopes": ["predict"], "expires": null}]}

A site may have two live keys, so that a new one is handed out before the old one is taken away.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from serving.config import Settings
from serving.messages import Scope

SCOPES: Final = get_args(Scope)
MAX_LIVE_KEYS: Final = 2
ANONYMOUS: Final = "local"  # the site of requests that need no key
_SECRET_BYTES: Final = 32


class KeysError(ValueError):
    """The key file is not one that may be served with."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key's entry. A random key of 256 bits needs no salt and no slow hash."""

    site: str
    sha256: bytes
    scopes: frozenset[str]
    expires_s: float | None  # seconds since 1970

    def is_live(self, now_s: float) -> bool:
        """Whether the key may still be used."""
        return self.expires_s is None or now_s < self.expires_s


class KeyRing:
    """The keys in force.

    Raises:
        KeysError: two keys are the same, or a site has more than two live ones.
    """

    def __init__(self, keys: list[Key], now_s: float) -> None:
        self._by_hash = {key.sha256: key for key in keys}
        if len(self._by_hash) != len(keys):
            raise KeysError("two entries have the same sha256; every key is one entry")
        for site in {key.site for key in keys}:
            num_live = sum(key.site == site and key.is_live(now_s) for key in keys)
            if num_live > MAX_LIVE_KEYS:
                raise KeysError(
                    f"site {site!r} has {num_live} live keys; at most {MAX_LIVE_KEYS} are allowed"
                )
        self._secret = secrets.token_bytes(_SECRET_BYTES)
        self._seen: dict[bytes, Key] = {}  # those of ours only: it grows no further

    def __eq__(self, other: object) -> bool:
        """Whether the entries are the same."""
        return isinstance(other, KeyRing) and self._by_hash == other._by_hash

    __hash__ = None  # type: ignore[assignment]  # it remembers keys, so it changes

    def find(self, presented: bytes) -> Key | None:
        """The entry of a presented key, live or not.

        A key that was found before is known again by a hash under a secret of this ring's: Python
        has BLAKE2 built in, where SHA-256 is OpenSSL's, 26 us more for a lone request.
        """
        mark = hashlib.blake2b(presented, key=self._secret).digest()
        key = self._seen.get(mark)
        if key is None:
            key = self._by_sha256(presented)
            if key is not None:
                self._seen[mark] = key
        return key

    def _by_sha256(self, presented: bytes) -> Key | None:
        """By the hash that the file has.

        The look-up by hash tells a guesser nothing about any key; the comparison that decides
        takes the same time whatever it compares.
        """
        digest = hashlib.sha256(presented).digest()
        key = self._by_hash.get(digest)
        if key is not None and hmac.compare_digest(key.sha256, digest):
            return key
        return None


def parse_keys(text: str, now_s: float) -> KeyRing:
    """Read the JSON of a key file.

    Raises:
        KeysError: not JSON, or an entry is incomplete; the message names the entry, never a key.
    """
    try:
        entries = json.loads(text)["keys"]
        return KeyRing([_parse_entry(entry) for entry in entries], now_s)
    except KeysError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeysError(f"the key file is not as serving.keys writes it: {error!r}") from error


def _parse_entry(entry: dict[str, object]) -> Key:
    site, scopes = str(entry["site"]), entry["scopes"]
    if not isinstance(scopes, list) or not set(scopes) <= set(SCOPES):
        raise KeysError(f"site {site!r}: scopes are {scopes}; choose from {', '.join(SCOPES)}")
    digest = bytes.fromhex(str(entry["sha256"]))
    if len(digest) != hashlib.sha256().digest_size:
        raise KeysError(f"site {site!r}: sha256 must have 64 hex digits")
    expires = entry.get("expires")
    moment = None if expires is None else datetime.fromisoformat(str(expires))
    if moment is not None and moment.tzinfo is None:
        raise KeysError(f"site {site!r}: expires needs a time zone, as in 2027-01-31T00:00:00Z")
    return Key(site, digest, frozenset(scopes), None if moment is None else moment.timestamp())


def load_keys(settings: Settings, now_s: float) -> KeyRing | None:
    """The keys that the settings name; None where they name none.

    Raises:
        KeysError: they cannot be read, or hold nothing.
    """
    if settings.api_keys_json is not None:
        return parse_keys(settings.api_keys_json.get_secret_value(), now_s)
    if settings.api_keys_file is None:
        return None
    try:
        text = settings.api_keys_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"{settings.api_keys_file} cannot be read: {error}") from error
    return parse_keys(text, now_s)
