"""Reads the API keys from AWS Secrets Manager: one signed request, the standard library only.

The serving image has no AWS SDK, and needs none for one call. The key file's format is in
key_ring.py. Credentials are the task role's, which ECS serves on a link-local address.

Source: AWS's reference of Signature Version 4, of GetSecretValue, and of container credentials.
"""

import json
import os
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from serving.aws_signature import OPENER, TIMEOUT_S, find_credentials, sign

MAX_ANSWER_BYTES: Final = 262_144  # a secret has 65,536 bytes at most, escaped in JSON
_SERVICE: Final = "secretsmanager"


def read_secret(arn: str) -> str:
    """The current text of the secret.

    Raises:
        OSError: it could not be read; the message has AWS's reason, never the secret.
        ValueError: the ARN or an answer is malformed.
    """
    region = region_of(arn)
    url = os.environ.get("AWS_ENDPOINT_URL", f"https://{_SERVICE}.{region}.amazonaws.com")
    body = json.dumps({"SecretId": arn, "VersionStage": "AWSCURRENT"}).encode()
    headers = sign(
        {
            "content-type": "application/x-amz-json-1.1",
            "host": urlsplit(url).netloc,
            "x-amz-target": f"{_SERVICE}.GetSecretValue",
        },
        body,
        credentials=find_credentials(),
        region=region,
        now=datetime.now(UTC),
    )
    request = urllib.request.Request(f"{url.rstrip('/')}/", data=body, headers=headers)  # noqa: S310
    return str(_fetch(request)["SecretString"])


def region_of(arn: str) -> str:
    """The region in a secret's ARN.

    Raises:
        ValueError: it is no ARN of a secret.
    """
    parts = arn.split(":")
    if len(parts) != 7 or parts[0] != "arn" or parts[2] != _SERVICE or not parts[3]:
        raise ValueError(f"{arn!r} is no ARN of a secret: arn:aws:secretsmanager:REGION:...")
    return parts[3]


def _fetch(request: urllib.request.Request) -> Any:
    """The JSON of an answer.

    Raises:
        OSError: no answer, or a refusal.
        ValueError: no JSON.
    """
    try:
        with OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return json.loads(answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            reason = error.read(500).decode(errors="replace")
        raise OSError(f"{error.code} from {request.host}: {reason}") from error
