"""``python -m serving.keys new``: makes an API key. The key itself is printed once and never kept.

``python -m serving.keys new --site berlin-1 --scopes predict`` prints a key and the entry to add
to the file that DIGITS_API_KEYS_FILE names.
"""

import argparse
import hashlib
import json
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

from serving.edge.key_ring import SCOPES, KeysError, parse_keys
from serving.messages import Scope

_KEY_BYTES: Final = 32


def new_key(site: str, scopes: list[Scope], expires: str | None) -> tuple[str, dict[str, object]]:
    """Make a key: the key itself, to hand over, and its entry, to keep."""
    key = secrets.token_urlsafe(_KEY_BYTES)
    entry: dict[str, object] = {
        "site": site,
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "scopes": list(scopes),
        "expires": expires,
    }
    return key, entry


def main() -> int:
    """Print a key once, and its entry; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="make a key; prints it once")
    new.add_argument("--site", required=True, help="facility or scanner, seen in metrics")
    new.add_argument(
        "--scopes",
        default="predict",
        help=f"comma separated: {', '.join(SCOPES)}; only predict opens anything yet",
    )
    new.add_argument("--expires", help="ISO 8601 with time zone; default: never")
    new.add_argument("--file", type=Path, help="key file to add the entry to")
    args = parser.parse_args()
    key, entry = new_key(args.site, cast("list[Scope]", args.scopes.split(",")), args.expires)
    now_s = datetime.now(UTC).timestamp()
    content = {"keys": [entry]}
    if args.file and args.file.exists():
        content["keys"] = [*json.loads(args.file.read_text())["keys"], entry]
    try:
        parse_keys(json.dumps(content), now_s)
    except KeysError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if args.file:
        args.file.touch(mode=0o600)
        args.file.write_text(json.dumps(content, indent=2) + "\n")
    sys.stdout.write(f"key (shown once): {key}\nentry: {json.dumps(entry)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
