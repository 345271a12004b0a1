"""Waits for the release that a pushed image started; CI fails with it.

``python -m infra.release_wait prod 2026-11-26T23:00:00Z``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import boto3

START_S = 600.0  # from the push to the start of the state machine
POLL_S = 20.0


class NotReleased(Exception):
    """The release failed or was rolled back, or none started."""


def wait(
    states: Any,  # boto3's client has no type
    machine_arn: str,
    since: datetime,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when the newest execution that began after ``since`` has succeeded.

    Raises:
        NotReleased: it did not succeed, or none began within ``START_S``.
    """
    begun = clock()
    while True:
        found = states.list_executions(stateMachineArn=machine_arn, maxResults=1)["executions"]
        newest = next((one for one in found if one["startDate"] >= since), None)
        if newest is None:
            if clock() - begun > START_S:
                raise NotReleased(f"no release began within {START_S:.0f} s of the push")
        elif newest["status"] != "RUNNING":
            if newest["status"] == "SUCCEEDED":
                return
            raise NotReleased(
                f"{newest['name']} ended as {newest['status']}: the image before it serves; "
                "the alert's mail holds the reason"
            )
        sleep(POLL_S)


def main() -> int:
    """0: released; 1: not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment")
    parser.add_argument("since", type=datetime.fromisoformat, help="when the push began")
    chosen = parser.parse_args()
    session = boto3.Session()
    account = session.client("sts").get_caller_identity()["Account"]
    machine = f"digitline-{chosen.environment}-mlops-release"
    arn = f"arn:aws:states:{session.region_name}:{account}:stateMachine:{machine}"
    try:
        wait(session.client("stepfunctions"), arn, chosen.since)
    except NotReleased as problem:
        print(f"not released: {problem}", file=sys.stderr)
        return 1
    print("released")
    return 0


if __name__ == "__main__":
    sys.exit(main())
