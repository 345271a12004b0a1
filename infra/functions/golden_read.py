"""Reads golden crops through the load balancer from outside the VPC, as a scanner does.

The source of two AWS Lambda functions, with one entry each: ``watch`` and ``approve``. It runs
without the rest of the repository; the crops are in its environment.
"""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.request
from typing import Any

TIMEOUT_S = 5
MAX_REJECTED = 2  # of ten: a better model may reject other crops than this one


def watch(event: object, context: object) -> None:  # noqa: ARG001
    """Read one crop, another each minute; a wrong answer or none is an error of the function."""
    crops = _crops()
    digit = sorted(crops)[int(time.time() // 60) % len(crops)]
    answer = _read(crops[digit], {})
    if str(answer["digit"]) != digit:
        raise ValueError(f"crop of {digit} was read as {answer['digit']}")


def approve(event: object, context: object) -> dict[str, str]:  # noqa: ARG001
    """Read every crop with the new version, before it gets traffic; ECS rolls back on FAILED."""
    header = {os.environ["TEST_HEADER"]: "yes"}
    answers = {digit: _read(crop, header) for digit, crop in _crops().items()}
    wrong = [digit for digit, answer in answers.items() if str(answer["digit"]) != digit]
    rejected = [
        digit
        for digit, answer in answers.items()
        if answer.get("rejected_because") not in (None, "site_on_hold")
    ]
    print(json.dumps({"misread": wrong, "rejected": rejected}))
    failed = wrong or len(rejected) > MAX_REJECTED
    return {"hookStatus": "FAILED" if failed else "SUCCEEDED"}


def _crops() -> dict[str, bytes]:
    """Digit -> PNG."""
    crops = json.loads(os.environ["CROPS"])
    return {digit: base64.b64decode(crop) for digit, crop in crops.items()}


def _read(crop: bytes, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310  # the template's https:// address
        f"{os.environ['ADDRESS']}/v1/digit",
        data=crop,
        headers={"content-type": "image/png", "authorization": f"Bearer {_key()}", **headers},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        answer = json.load(response)
    assert isinstance(answer, dict)
    return answer


def _key() -> str:
    import boto3  # part of the runtime; the tests need none

    client = boto3.client("secretsmanager")
    return str(client.get_secret_value(SecretId=os.environ["KEY_SECRET"])["SecretString"])
