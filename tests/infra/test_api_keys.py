"""Keys of a running service: added, listed, revoked, without a deployment.

The server runs with the command, the variables and the role of its task in moto, which checks the
signature and the permission of each of its requests.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from deployment import Deployment
from moto import settings as moto_settings
from test_jobs import PYTHON, ROOT, Task

from infra import api_keys
from infra.__main__ import main
from infra.api_keys import DEAD_WITHIN_S

CROP = ROOT / "tests" / "data" / "crops" / "0-00188.png"


@pytest.fixture
def operator(prod: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """An operator's shell, as docs/deploy.md sets it up; no key is in force."""
    for name, value in {
        "AWS_ENDPOINT_URL": prod.endpoint,
        "AWS_DEFAULT_REGION": prod.environment.region,
        "AWS_ACCESS_KEY_ID": "operator",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    api_keys.change("prod", lambda entries: [])
    return prod


def keys(action: str, *words: str) -> int:
    return main(["keys", action, "--environment", "prod", *words])


def add(site: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert keys("add", "--site", site) == 0
    found = re.search(r"shown once: (\S+)", capsys.readouterr().out)
    assert found is not None
    return found[1]


def sites() -> list[str]:
    secret = boto3.client("secretsmanager").get_secret_value(
        SecretId="digitline/prod/api-keys", VersionStage="AWSCURRENT"
    )
    return sorted(entry["site"] for entry in json.loads(secret["SecretString"])["keys"])


def test_a_second_sites_key_leaves_the_first_ones(
    operator: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    add("berlin-1", capsys)
    add("leeds-2", capsys)
    assert sites() == ["berlin-1", "leeds-2"]


def test_only_the_revoked_key_goes(
    operator: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    add("berlin-1", capsys)
    leaked = add("leeds-2", capsys)
    assert keys("revoke", leaked) == 0
    assert sites() == ["berlin-1"]


def test_a_key_is_revoked_by_its_id_in_the_list(
    operator: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    key = add("berlin-1", capsys)
    assert keys("list") == 0
    printed = capsys.readouterr().out
    assert key not in printed
    listed = re.search(r"^(\w{8})  berlin-1, predict, never$", printed, re.MULTILINE)
    assert listed is not None
    assert keys("revoke", listed[1]) == 0
    assert sites() == []


def test_an_unknown_key_changes_nothing(
    operator: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    add("berlin-1", capsys)
    assert keys("revoke", "0badc0de") == 2
    assert sites() == ["berlin-1"]


def test_a_third_key_of_a_site_is_refused(
    operator: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    add("berlin-1", capsys)
    add("berlin-1", capsys)
    assert keys("add", "--site", "berlin-1") == 2
    assert sites() == ["berlin-1", "berlin-1"]


def test_two_operators_at_once_lose_no_key(
    operator: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second one writes between the first one's read and write."""
    meanwhile = iter(["leeds-2"])

    def add_slowly(entries: list[api_keys.Entry]) -> list[api_keys.Entry]:
        for site in meanwhile:
            add(site, capsys)
        digest = hashlib.sha256(b"slow").hexdigest()
        return [*entries, {"site": "berlin-1", "sha256": digest, "scopes": ["predict"]}]

    api_keys.change("prod", add_slowly)
    assert sites() == ["berlin-1", "leeds-2"]


@pytest.fixture
def server(operator: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The service's server with what its task definition gives it; returns its address."""
    if not PYTHON.exists():
        pytest.skip("the server needs .venv (make setup), which does not exist")
    service = operator.client("ecs").describe_services(
        cluster=operator.outputs["service"]["ClusterName"],
        services=[operator.outputs["service"]["ServiceName"]],
    )["services"][0]
    task = Task(operator, service["taskDefinition"], "server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = {
        "DIGITS_HOST": "127.0.0.1",
        "DIGITS_PORT": port,
        "DIGITS_CAPTURE_DIR": str(tmp_path / "spool"),
        "DIGITS_DRAIN_S": "0",
    }
    monkeypatch.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            task.command, cwd=ROOT, env=task.environment(**here), stdout=log, stderr=log
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/readyz", tmp_path / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(900):
        try:
            if urllib.request.urlopen(url, timeout=1).status == 200:
                return
        except OSError:
            time.sleep(0.1)
        if process.poll() is not None:
            break
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def status(url: str, key: str) -> int:
    headers = {"content-type": "image/png", "x-api-key": key}
    request = urllib.request.Request(f"{url}/v1/digit", CROP.read_bytes(), headers)
    try:
        return int(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code


def seconds_until(url: str, key: str, wanted: int) -> float:
    began = time.monotonic()
    while (waited := time.monotonic() - began) < DEAD_WITHIN_S:
        if status(url, key) == wanted:
            return waited
        time.sleep(0.5)
    pytest.fail(f"no {wanted} within {DEAD_WITHIN_S} s")


def test_a_leaked_key_is_dead_in_a_running_task_within_a_minute(
    server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_operator(*words: str) -> None:  # moto enforces nothing on the operator
        with monkeypatch.context() as free:
            free.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", float("inf"))
            assert keys(*words) == 0

    as_operator("add", "--site", "berlin-1")
    found = re.search(r"shown once: (\S+)", capsys.readouterr().out)
    assert found is not None
    seconds_until(server, found[1], 200)
    as_operator("revoke", found[1])
    took = seconds_until(server, found[1], 401)
    print(f"dead after {took:.0f} s")
