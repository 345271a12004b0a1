"""``make rehearse``: runs the commands of docs/deploy.md against an emulated account.

It takes the shell blocks of that page and of the runbook as they are, with the real CDK and AWS
command lines, and changes only what the emulator lacks (``CHANGED``). Needs ``aws`` and npm.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import moto_api
import moto_repairs  # noqa: F401  # changes moto's classes
import moto_types  # noqa: F401
from deployment import certificate
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult
from moto.server import ThreadedMotoServer
from moto.servicequotas.responses import ServiceQuotasResponse

from infra import drill
from infra.__main__ import DOCUMENT
from infra.settings import REPOSITORY_ROOT

REGION = "eu-central-1"  # of the page's commands
SECTIONS = (
    (DOCUMENT, "What you need"),
    (DOCUMENT, "Deployment values"),
    (DOCUMENT, "First deployment"),
    (drill.RUNBOOK, "When an alarm rings"),
    (DOCUMENT, "Rolling back"),
)

# Text of the page -> what is run instead. The page must have each of them.
CHANGED = {
    "make infra-test  ": ":",  # this program's environment was made by it
    "arn:aws:acm:$AWS_REGION:$ACCOUNT:certificate/...": "$CERTIFICATE",
    "DEPLOYMENT=$(aws": "DEPLOYMENT=$(: aws",  # moto has no service deployments
    "aws ecs stop-service-deployment": ": aws ecs stop-service-deployment",
    "curl --data-binary": ": curl --data-binary",  # no task runs
    "aws sqs receive-message": ": aws sqs receive-message",  # moto's queues have AWS's addresses
    "/drift/ | tail -3": "",  # no job runs, so there is no report
}

# An image is a tag without content. moto's change sets lose the outputs, so the CDK does without.
BEFORE = """
set -euo pipefail
docker() {
  [ "$1" = buildx ] || { cat > /dev/null; return; }
  until [ "$1" = --tag ]; do shift; done
  local repository=${2#*/}
  aws ecr put-image --repository-name "${repository%:*}" --image-tag "${2##*:}" \\
    --image-manifest "$(printf "$MANIFEST" "$2")" > /dev/null
}
"""
AFTER_THE_FUNCTIONS = """
eval "documented_$(declare -f cdk)"
cdk() {
  [ "$1" != deploy ] || set -- "$@" --method direct --require-approval never
  documented_cdk "$@" 2> >(grep -v '^$' >&2)
}
KEY=the-key-that-was-printed GOLDEN_KEY=the-other-one
"""


def blocks() -> list[tuple[str, str]]:
    """Section and text of each shell block that is run, with ``CHANGED`` applied.

    Raises:
        LookupError: the pages lack a text of ``CHANGED``, or a section has no block.
    """
    found = []
    for page, section in SECTIONS:
        text = page.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        ours = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        if not ours:
            raise LookupError(f"{page.name}: no shell block under {section!r}")
        found += [(section, block) for block in ours]
    for old, new in CHANGED.items():
        if not any(old in block for _, block in found):
            raise LookupError(f"the pages no longer have {old!r}: renew CHANGED")
        found = [(section, block.replace(old, new)) for section, block in found]
    return found


def script() -> str:
    """The program that bash runs: all blocks in one shell, each announced."""
    parts = [BEFORE]
    for number, (section, block) in enumerate(blocks()):
        parts.append(f"echo '== {section}, block {number + 1}'\n{block}")
        if "\ncdk() {" in block:
            parts.append(AFTER_THE_FUNCTIONS)
    return "\n".join(parts)


@contextmanager
def account() -> Iterator[dict[str, str]]:
    """The variables that lead the command lines to an emulated account with a certificate."""
    CloudFormationResponse.update_termination_protection = _protect
    ServiceQuotasResponse.get_aws_default_service_quota = _default_quota
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    moto_api.AWS.endpoint, moto_api.AWS.region = f"http://127.0.0.1:{port}", REGION
    try:
        yield {
            # moto finds a template in S3 by this name, and a bucket by the address
            "AWS_ENDPOINT_URL": f"http://localhost:{port}",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": moto_api.ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_PAGER": "",
            "MANIFEST": '{"schemaVersion": 2, "of": "%s", "mediaType": '
            '"application/vnd.docker.distribution.manifest.v2+json"}',
            "CERTIFICATE": certificate(),
        }
    finally:
        server.stop()


def _protect(self: Any) -> ActionResult:
    return ActionResult({"StackId": self._get_param("StackName")})


def _default_quota(self: Any) -> str:
    return '{"Quota": {"Value": 1000}}'


def main() -> int:
    """Run the page; 0 if every command succeeded."""
    if shutil.which("aws") is None:
        sys.stderr.write("not rehearsed: `aws`, the AWS command line, is not on PATH\n")
        return 2
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    begun = time.monotonic()
    with account() as variables:
        done = subprocess.run(
            ["bash", "-c", script()],
            cwd=REPOSITORY_ROOT,
            env=os.environ | variables,
            check=False,
        )
    result = "every command succeeded" if done.returncode == 0 else "stopped at the error above"
    print(f"docs/deploy.md and the runbook: {result}, {time.monotonic() - begun:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
