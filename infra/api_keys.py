"""``python -m infra keys``: adds, revokes and lists the API keys of one environment.

The keys of all sites are one secret. Each command reads it, changes its own entry and writes the
whole back, unless somebody else has changed it meanwhile: then it starts again. Tasks read the
secret every 20 s (serving/edge/key_store.py), so there is nothing to deploy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import ClientError

from infra.argument_parsers import add_action
from serving.edge.key_ring import KeysError, new_key, parse_keys

MAX_SECRET_BYTES = 65_536  # Secrets Manager's limit: some 480 keys
DEAD_WITHIN_S = 60  # two polls of every task
ID_DIGITS = 8  # of the hash: what names a key in lists
_NEXT = "NEXT"  # label of a version that is written, but not in force yet
_ATTEMPTS = 5

Entry = dict[str, Any]


def add_actions(parser: argparse.ArgumentParser) -> None:
    """The actions add, revoke and list."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    added = add_action(actions, "add", _add, "make a key for a site and print it once")
    added.add_argument("--site", required=True, help="facility or scanner")
    added.add_argument("--scopes", default="predict", help="comma-separated")
    added.add_argument("--expires", help="end of validity, ISO 8601 with time zone")
    revoked = add_action(
        actions, "revoke", _revoke, f"take a key away: dead within {DEAD_WITHIN_S} s"
    )
    revoked.add_argument("key", help="its id in the list, or the key itself")
    add_action(actions, "list", _list, "print the keys: id, site, scopes, expiry")


def _add(options: argparse.Namespace) -> int:
    key, entry = new_key(options.site, options.scopes.split(","), options.expires)

    def add(entries: list[Entry]) -> list[Entry]:
        return [*entries, entry]

    try:
        change(options.environment, add)
    except (KeysError, LookupError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print(f"key of {options.site}, shown once: {key}")
    print(f"id {key_id(entry)}; every task knows it within {DEAD_WITHIN_S} s")
    return 0


def _revoke(options: argparse.Namespace) -> int:
    digest = hashlib.sha256(options.key.encode()).hexdigest()

    def revoke(entries: list[Entry]) -> list[Entry]:
        found = [e for e in entries if options.key == key_id(e) or digest == e["sha256"]]
        if len(found) != 1:
            raise LookupError(f"{len(found)} keys match; `keys list` prints their ids")
        return [entry for entry in entries if entry not in found]

    try:
        left = change(options.environment, revoke)
    except (KeysError, LookupError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print(f"revoked; {len(left)} keys left; dead in every task within {DEAD_WITHIN_S} s")
    return 0


def _list(options: argparse.Namespace) -> int:
    _, entries = _read(_client(), secret_name(options.environment))
    print(f"{'id':<{ID_DIGITS}}  site, scopes, expiry")
    for entry in sorted(entries, key=lambda entry: str(entry["site"])):
        expiry = entry.get("expires") or "never"
        print(f"{key_id(entry)}  {entry['site']}, {'+'.join(entry['scopes'])}, {expiry}")
    return 0


def secret_name(environment: str) -> str:
    """The name of the secret that foundation makes."""
    return f"digitline/{environment}/api-keys"


def key_id(entry: Entry) -> str:
    """The start of the key's hash: names it without revealing it."""
    return str(entry["sha256"])[:ID_DIGITS]


def change(environment: str, edit: Callable[[list[Entry]], list[Entry]]) -> list[Entry]:
    """Apply ``edit`` to the entries in the secret; returns those now in force.

    Raises:
        KeysError: the service would refuse the result.
        LookupError: raised by ``edit``, or others changed the secret again and again.
    """
    client, name = _client(), secret_name(environment)
    for _ in range(_ATTEMPTS):
        version, before = _read(client, name)
        entries = edit(before)
        text = json.dumps({"keys": entries})
        parse_keys(text, time.time())
        if len(text.encode()) > MAX_SECRET_BYTES:
            raise KeysError(f"{len(entries)} keys need more than {MAX_SECRET_BYTES} bytes")
        if _replace(client, name, version, text):
            return entries
    raise LookupError(f"{name} was changed by others {_ATTEMPTS} times; try again")


def _client() -> Any:
    return boto3.client("secretsmanager")


def _read(client: Any, name: str) -> tuple[str, list[Entry]]:
    found = client.get_secret_value(SecretId=name, VersionStage="AWSCURRENT")
    parse_keys(found["SecretString"], time.time())
    return found["VersionId"], json.loads(found["SecretString"])["keys"]


def _replace(client: Any, name: str, version: str, text: str) -> bool:
    """Put ``text`` in force in place of ``version``; False if another version is in force.

    PutSecretValue alone would overwrite what somebody else has written since. So the new version
    is written under a label of its own, and AWS moves AWSCURRENT from the version that we read or
    not at all (API reference of UpdateSecretVersionStage).
    """
    written = client.put_secret_value(SecretId=name, SecretString=text, VersionStages=[_NEXT])
    try:
        client.update_secret_version_stage(
            SecretId=name,
            VersionStage="AWSCURRENT",
            MoveToVersionId=written["VersionId"],
            RemoveFromVersionId=version,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "InvalidParameterException":
            return False
        raise
    return True
