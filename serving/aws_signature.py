"""Requests to AWS without its SDK, which the image does not carry: signature and credentials.

Source:
    AWS General Reference, "Signature Version 4".
"""

import hashlib
import hmac
import json
import os
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote

TIMEOUT_S: Final = 5.0
_TASK_ADDRESS: Final = "http://169.254.170.2"  # of ECS's credentials
_MAX_CREDENTIALS_BYTES: Final = 65_536
# no proxy: the addresses are inside the network
OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def sign(
    headers: Mapping[str, str],
    body: bytes,
    *,
    credentials: Mapping[str, str],
    region: str,
    now: datetime,
    service: str = "secretsmanager",
    method: str = "POST",
    path: str = "/",
) -> dict[str, str]:
    """The headers of a request with their signature (AWS Signature Version 4).

    Args:
        headers: with names in lower case; all of them are signed.
        body: of the request.
        credentials: AccessKeyId, SecretAccessKey, and Token where they are temporary.
        region: of the service.
        now: time of the request, UTC.
        service: name that the signature is for.
        method: of the request.
        path: of the request, not yet encoded.
    """
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    signed = {**headers, "x-amz-date": moment}
    if credentials.get("Token"):
        signed["x-amz-security-token"] = credentials["Token"]
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = f"{method}\n{quote(path)}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
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


def find_credentials() -> Mapping[str, str]:
    """The task role's from ECS, or those in the environment.

    Raises:
        OSError: there are none.
        ValueError: ECS's answer is malformed.
    """
    path = os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if path is not None:
        with OPENER.open(f"{_TASK_ADDRESS}{path}", timeout=TIMEOUT_S) as answer:
            found: Mapping[str, str] = json.loads(answer.read(_MAX_CREDENTIALS_BYTES))
        return found
    try:
        return {
            "AccessKeyId": os.environ["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
            "Token": os.environ.get("AWS_SESSION_TOKEN", ""),
        }
    except KeyError as error:
        raise OSError(f"no AWS credentials: {error} is not set, and this is no ECS task") from error
