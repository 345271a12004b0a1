"""Makes API keys. A key is printed once and is stored nowhere: the key file holds only its hash.

Example: `python -m serving.keys new --site berlin-1 --file keys.json` prints a key and adds its
entry to keys.json, the file that DIGITS_API_KEYS_FILE names.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from serving.edge.key_ring import SCOPES, KeysError, new_key, parse_keys, read_key_file
from serving.key_scope import KeyScope


def main() -> int:
    """Print a new key and its entry; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    new = commands.add_parser(
        "new",
        help="make a key and print it",
        description="Make a key; print it and its entry.",
    )
    new.add_argument("--site", required=True, help="facility or scanner; a label in the metrics")
    new.add_argument(
        "--scopes",
        default="predict",
        help=f"comma-separated list of {', '.join(SCOPES)}: read crops, store labels, "
        "see the console's pages, change what is served (default: %(default)s)",
    )
    new.add_argument("--expires", help="end of validity, ISO 8601 with time zone (default: never)")
    new.add_argument(
        "--file", type=Path, help="key file to add the entry to (default: print the entry only)"
    )
    args = parser.parse_args()
    key, entry = new_key(args.site, cast("list[KeyScope]", args.scopes.split(",")), args.expires)
    now_s = datetime.now(UTC).timestamp()
    try:
        content = {"keys": [*_entries(args.file, now_s), entry]}
        parse_keys(json.dumps(content), now_s)
    except KeysError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if args.file:
        args.file.touch(mode=0o600)
        args.file.write_text(json.dumps(content, indent=2) + "\n")
    sys.stdout.write(f"key (shown once): {key}\nentry: {json.dumps(entry)}\n")
    return 0


def _entries(file: Path | None, now_s: float) -> list[object]:
    """The entries of a key file; none if it does not exist.

    Raises:
        KeysError: the file is unfit.
    """
    if file is None or not file.exists():
        return []
    text = read_key_file(file)
    parse_keys(text, now_s)
    return list(json.loads(text)["keys"])


if __name__ == "__main__":
    raise SystemExit(main())
