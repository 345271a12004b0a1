"""Reads the API keys from AWS Secrets Manager: one signed request, the standard library only.

The serving image has no AWS SDK, and needs none for one call. The key file's format is in
key_ring.py. Credentials are the task role's, which ECS serves on a link-local address.

Source: AWS's reference of Signature Version 4, of GetSecretValue, and of container credentials.
"""

import hashlib
import hmac
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 262_144  # a secret has 65,536 bytes at most, escaped in JSON
_SERVICE: Final = "secretsmanager"
_TASK_ADDRESS: Final = "http://169.254.170.2"  # of ECS's credentials
# no proxy: both addresses are inside the network
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


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
        credentials=_credentials(),
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


def sign(
    headers: Mapping[str, str],
    body: bytes,
    *,
    credentials: Mapping[str, str],
    region: str,
    now: datetime,
) -> dict[str, str]:
    """The headers of a POST to `/` with their signature (AWS Signature Version 4).

    Args:
        headers: with names in lower case; all of them are signed.
        body: of the request.
        credentials: AccessKeyId, SecretAccessKey, and Token where they are temporary.
        region: of the service.
        now: time of the request, UTC.
    """
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    signed = {**headers, "x-amz-date": moment}
    if credentials.get("Token"):
        signed["x-amz-security-token"] = credentials["Token"]
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{moment[:8]}/{region}/{_SERVICE}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{credentials['SecretAccessKey']}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(
        key, f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}".encode(), "sha256"
    )
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials['AccessKeyId']}/{scope}, "
        f"SignedHeaders={names}, Signature={signature.hex()}"
    )
    return signed


def _credentials() -> Mapping[str, str]:
    """The task role's from ECS, or those in the environment."""
    path = os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if path is not None:
        found: Mapping[str, str] = _fetch(urllib.request.Request(f"{_TASK_ADDRESS}{path}"))  # noqa: S310  # constant host
        return found
    try:
        return {
            "AccessKeyId": os.environ["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
            "Token": os.environ.get("AWS_SESSION_TOKEN", ""),
        }
    except KeyError as error:
        raise OSError(f"no AWS credentials: {error} is not set, and this is no ECS task") from error


def _fetch(request: urllib.request.Request) -> Any:
    """The JSON of an answer.

    Raises:
        OSError: no answer, or a refusal.
        ValueError: no JSON.
    """
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return json.loads(answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            reason = error.read(500).decode(errors="replace")
        raise OSError(f"{error.code} from {request.host}: {reason}") from error
