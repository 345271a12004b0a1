"""A batch against one by one, HTTP included: `python -m examples.product_similarity.compare`.

The service must run (`make example NAME=product_similarity`). A request has as many queries as
products; one by one, 32 requests of one pair follow each other on one connection. With --pid what
counts is the processor time of that process and of all that it started (Linux), which other
programs on the machine change little.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
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


def processor_s(pid: int) -> float:
    """User and system time of a process and of those below it, seconds; clock ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    below = [int(child) for task in tasks for child in task.read_text().split()]
    return ticks / os.sysconf("SC_CLK_TCK") + sum(map(processor_s, below))


def time_both(
    connection: http.client.HTTPConnection, texts: Sequence[str], clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of all texts one by one, and in one request."""
    started = clock()
    for text in texts:
        ask(connection, [text])
    between = clock()
    ask(connection, texts)
    return between - started, clock() - between


def main() -> None:
    """Print the time of both, for names and for names with descriptions."""
    parser = argparse.ArgumentParser(prog="python -m examples.product_similarity.compare")
    parser.add_argument("--port", type=int, default=3000, help="of the service (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="(%(default)s)")
    parser.add_argument("--pid", type=int, help="of the service: processor time, not passed time")
    args = parser.parse_args()
    clock = partial(processor_s, args.pid) if args.pid else time.monotonic
    rows = [json.loads(line) for line in PRODUCTS.read_text().splitlines()[:BATCH]]
    kinds = {
        "names": [row["name"] for row in rows],
        "names and descriptions": [f"{row['name']}: {row['description']}" for row in rows],
    }
    connection = http.client.HTTPConnection("127.0.0.1", args.port, timeout=60)
    for kind, texts in kinds.items():
        time_both(connection, texts, clock)  # warm up
        rounds = [time_both(connection, texts, clock) for _ in range(args.rounds)]
        single, batch = (sum(one) / len(rounds) * 1e3 for one in zip(*rounds, strict=True))
        sys.stdout.write(f"{kind}: one by one {single:.0f} ms, batch {batch:.0f} ms, ")
        sys.stdout.write(f"{single / batch:.1f}x\n")


if __name__ == "__main__":
    main()
