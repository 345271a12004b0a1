"""The running stack of deploy/compose.yaml, tested through its published ports.

`deploy/compose.sh` starts the stack and runs these tests. To test a running stack, set
DIGITLINE_COMPOSE to the compose command and DIGITLINE_STACK_KEY to a site's key.
"""

import json
import os
import shlex
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from loadtest import digit_crops
from loadtest.clients import openloop
from loadtest.clients.http1 import Request

COMPOSE = shlex.split(os.environ.get("DIGITLINE_COMPOSE", ""))
KEY = os.environ.get("DIGITLINE_STACK_KEY", "")
NGINX, PROMETHEUS, MLFLOW, REPORTS, CONSOLE = (
    f"http://127.0.0.1:{port}" for port in (8080, 9090, 5000, 8090, 8070)
)
WITHIN_S = 120.0

pytestmark = pytest.mark.skipif(not COMPOSE, reason="no stack: run `deploy/compose.sh`")


def send(address, body=None, **headers):
    request = urllib.request.Request(address, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()
    except OSError:  # the port is not open yet
        return 0, b""


def wait_for(poll):
    """Poll until the answer is true."""
    deadline = time.monotonic() + WITHIN_S
    while not (answer := poll()):
        assert time.monotonic() < deadline, f"no answer within {WITHIN_S:g} s"
        time.sleep(0.5)
    return answer


def inside(container, *command):
    """The output of a command in one of the stack's containers."""
    done = subprocess.run(
        [*COMPOSE, "exec", "-T", container, *command], capture_output=True, text=True, check=True
    )
    return done.stdout


def query(expression):
    parameters = urllib.parse.urlencode({"query": expression})
    status, body = send(f"{PROMETHEUS}/api/v1/query?{parameters}")
    return json.loads(body)["data"]["result"] if status == 200 else []


@pytest.fixture(scope="module", autouse=True)
def _is_up():
    wait_for(lambda: send(f"{NGINX}/readyz")[0] == 200)


def test_every_crop_is_answered_through_nginx():
    for crop in digit_crops.load():
        headers = {"Content-Type": "image/png", "X-Api-Key": KEY}
        status, body = send(f"{NGINX}/v1/digit", crop.png, **headers)
        assert status == 200, body
        assert 0 <= json.loads(body)["digit"] <= 9


def test_the_console_asks_for_a_key():
    wait_for(lambda: send(f"{CONSOLE}/livez")[0] == 200)
    status, body = send(f"{CONSOLE}/")
    assert status == 200
    assert b'name="key"' in body


def test_a_request_without_a_key_is_refused():
    png = digit_crops.load()[0].png
    assert send(f"{NGINX}/v1/digit", png, **{"Content-Type": "image/png"})[0] == 401


def test_clients_cannot_read_metrics():
    assert send(f"{NGINX}/metrics")[0] == 404


def test_a_hundred_requests_a_second_are_answered_through_nginx():
    headers = {"X-Api-Key": KEY}
    pngs = [crop.png for crop in digit_crops.workload(28, 20)]
    wires = [Request("/v1/digit", "image/png", png, headers).wire("127.0.0.1") for png in pngs]
    sample = openloop.run("127.0.0.1", 8080, wires, openloop.constant(100, 10))
    p50, p99 = (sample.percentile_ms(percent) for percent in (50, 99))
    print(f"\n100 requests/s through nginx: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    assert sample.statuses() == {"200": 1000}


def test_prometheus_scrapes_the_service():
    series = wait_for(lambda: query('sum(digits_requests_total{status="200"})'))
    assert float(series[0]["value"][1]) >= 200


def test_mlflow_stores_an_experiment_in_postgresql():
    wait_for(lambda: send(f"{MLFLOW}/health")[0] == 200)
    name = f"stack-{time.time_ns()}"
    body = json.dumps({"name": name}).encode()
    headers = {"Content-Type": "application/json"}
    status, made = send(f"{MLFLOW}/api/2.0/mlflow/experiments/create", body, **headers)
    assert status == 200, made
    statement = "select name from experiments"
    found = inside("postgres", "psql", "--username=mlflow", "-tA", "-c", statement)
    assert name in found.splitlines()


def test_the_report_server_shows_the_calendar_and_nothing_of_the_alerts():
    wait_for(lambda: send(f"{REPORTS}/index.html")[0] == 200)
    assert send(f"{REPORTS}/alerts/state.json")[0] == 404


def test_captures_reach_the_archive():
    """The shipper writes a Parquet file once a segment is 20 s old."""
    found = ("find", "/var/lib/captures", "-name", "*.parquet")
    assert wait_for(lambda: inside("shipper", *found).strip())
