"""A batch against one by one, HTTP included: `python -m examples.product_similarity.compare`.

The service must run (`make example NAME=product_similarity`). A request has as many queries as
products; one by one, 32 requests of one pair follow each other on one connection.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PRODUCTS: Final = Path("examples/text_pattern/champion/sample.jsonl")
BATCH: Final = 32


def ask(connection: http.client.HTTPConnection, texts: Sequence[str]) -> None:
    """One request. Raises RuntimeError: it was not answered with 200."""
    body = json.dumps({"products": texts, "queries": texts, "matches": 1})
    connection.request("POST", "/v1/matches", body, {"content-type": "application/json"})
    reply = connection.getresponse()
    content = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"HTTP {reply.status}: {content[:200]!r}")


def gain(connection: http.client.HTTPConnection, texts: Sequence[str]) -> tuple[float, float]:
    """Milliseconds of all texts one by one, and in one request."""
    started = time.monotonic()
    for text in texts:
        ask(connection, [text])
    between = time.monotonic()
    ask(connection, texts)
    return (between - started) * 1e3, (time.monotonic() - between) * 1e3


def main() -> None:
    """Print the time of both, for names and for names with descriptions: the median round."""
    parser = argparse.ArgumentParser(prog="python -m examples.product_similarity.compare")
    parser.add_argument("--port", type=int, default=3000, help="of the service (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="(%(default)s)")
    args = parser.parse_args()
    rows = [json.loads(line) for line in PRODUCTS.read_text().splitlines()[:BATCH]]
    kinds = {
        "names": [row["name"] for row in rows],
        "names and descriptions": [f"{row['name']}: {row['description']}" for row in rows],
    }
    connection = http.client.HTTPConnection("127.0.0.1", args.port, timeout=60)
    for kind, texts in kinds.items():
        gain(connection, texts)  # warm up
        rounds = [gain(connection, texts) for _ in range(args.rounds)]
        rounds.sort(key=lambda one: one[0] / one[1])
        single, batch = rounds[len(rounds) // 2]
        sys.stdout.write(f"{kind}: one by one {single:.0f} ms, batch {batch:.0f} ms, ")
        sys.stdout.write(f"{single / batch:.1f}x ({rounds[0][0] / rounds[0][1]:.1f} to ")
        sys.stdout.write(f"{rounds[-1][0] / rounds[-1][1]:.1f})\n")


if __name__ == "__main__":
    main()
