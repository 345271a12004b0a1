"""The running stack of deploy/compose.yaml, tested through its published ports.

`deploy/compose.sh` starts the stack and runs these tests. To test a running stack, set
DIGITLINE_COMPOSE to the compose command, DIGITLINE_STACK_KEY to a site's key and
DIGITLINE_STACK_OFFICE_KEY to one of the console.
"""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from loadtest import digit_crops
from loadtest.clients import openloop
from loadtest.clients.http1 import Request

COMPOSE = shlex.split(os.environ.get("DIGITLINE_COMPOSE", ""))
KEY = os.environ.get("DIGITLINE_STACK_KEY", "")
OFFICE_KEY = os.environ.get("DIGITLINE_STACK_OFFICE_KEY", "")
FIELD = Path(__file__).parents[1] / "data" / "fields" / "28195.png"
NGINX, PROMETHEUS, MLFLOW, REPORTS, CONSOLE = (
    f"http://127.0.0.1:{port}" for port in (8080, 9090, 5000, 8090, 8070)
)
WITHIN_S = 240.0

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


def post_png(path, png, **headers):
    """The answer to a scanner's picture, which was read."""
    headers |= {"Content-Type": "image/png", "X-Api-Key": KEY}
    status, body = send(f"{NGINX}{path}", png, **headers)
    assert status == 200, body
    return json.loads(body)


def two_digits():
    """A crop that no machine may accept."""
    pair = [crop.pixels() for crop in digit_crops.workload(28, 2)]
    file = io.BytesIO()
    Image.fromarray(np.hstack(pair)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def office():
    """A client of somebody who is signed in to the console; writes carry the session's token."""
    with httpx.Client(base_url=CONSOLE, timeout=30) as client:
        signed_in = client.post("/sign-in", data={"who": "anna", "key": OFFICE_KEY})
        assert signed_in.status_code == 303, signed_in.text
        found = re.search(r'name="csrf" value="([^"]+)"', client.get("/log").text)
        client.headers["x-csrf-token"] = found[1]
        yield client


def process_of(name):
    """The process of a container, on this machine; 0 while it does not run."""
    ids = subprocess.run([*COMPOSE, "ps", "-q", name], capture_output=True, text=True, check=True)
    (container,) = ids.stdout.split()
    inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    found = subprocess.run(inspect, capture_output=True, text=True, check=True)
    return int(found.stdout)


def is_found(read_id):
    """Whether a read is in the spool or the archive."""
    command = ["exec", "-T", "shipper", "python", "-m", "monitoring", "find", read_id]
    done = subprocess.run([*COMPOSE, *command], capture_output=True, text=True, check=False)
    return read_id in done.stdout


def query(expression):
    parameters = urllib.parse.urlencode({"query": expression})
    status, body = send(f"{PROMETHEUS}/api/v1/query?{parameters}")
    return json.loads(body)["data"]["result"] if status == 200 else []


@pytest.fixture(scope="module", autouse=True)
def _is_up():
    wait_for(lambda: send(f"{NGINX}/readyz")[0] == 200)
    wait_for(lambda: send(f"{CONSOLE}/sign-in")[0] == 200)


def test_every_crop_is_answered_through_nginx():
    for crop in digit_crops.load():
        headers = {"Content-Type": "image/png", "X-Api-Key": KEY}
        status, body = send(f"{NGINX}/v1/digit", crop.png, **headers)
        assert status == 200, body
        assert 0 <= json.loads(body)["digit"] <= 9


def test_a_field_is_read_through_nginx():
    answer = post_png("/v1/field?digits=5", FIELD.read_bytes())
    assert answer["code"] == "28195"
    assert all(one["box"]["width"] for one in answer["digits"])


def test_a_reject_is_keyed_in_the_console_and_its_label_reaches_the_archive(office):
    waits = {"X-Deadline-Ms": "300000"}  # asked before the letters of the other tests
    read_id = post_png("/v1/digit", two_digits(), **waits)["read_id"]

    def lent():
        letters = office.get("/keying/letters", params={"num": 20}).json()["letters"]
        return [one for one in letters if one["read_id"] == read_id]

    wait_for(lent)
    label = {"read_id": read_id, "crop_index": 0, "label": "two_digits"}
    label["when_us"] = time.time_ns() // 1000
    answer = office.post("/keying/labels", json={"labels": [label]})
    assert answer.json()["results"][0]["status"] == "stored", answer.text
    waited = send(f"{CONSOLE}/v1/reads/{read_id}?wait_ms=5000", **{"X-Api-Key": KEY})
    assert json.loads(waited[1])["digits"][0]["digit"] == "not_a_digit", waited
    events = (
        "import sys; from capture.labels import *; from capture.store import open_store; "
        "store = open_store('/var/lib/captures'); "
        "print(*events_in(store, event_files(store)).read_id)"
    )
    wait_for(lambda: read_id in inside("shipper", "python", "-c", events).split())


def test_a_letter_is_read_again_to_the_same_bits(office):
    read_id = post_png("/v1/digit", digit_crops.load()[0].png)["read_id"]
    page = office.get("/letters", params={"id": read_id}, follow_redirects=True)
    assert page.status_code == 200, page.text
    assert ">same bits<" in page.text


@pytest.mark.parametrize("path", ["/keying", "/sites", "/sites/here", "/plant", "/models", "/log"])
def test_a_page_of_the_console_is_shown(path, office):
    page = office.get(path)
    assert page.status_code == 200, page.text


def test_one_command_erases_a_read_from_every_volume():
    read_id = post_png("/v1/digit", digit_crops.load()[1].png)["read_id"]
    wait_for(lambda: is_found(read_id))
    command = [*COMPOSE, "run", "--rm", "-T", "erase", read_id]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no data snapshot had it" in done.stdout
    wait_for(lambda: not is_found(read_id))


def test_the_months_retraining_can_be_started():
    """It ends where no crop is labelled, after it has found mail, data store and champion."""
    places = ("--work", "/var/lib/training/try", "--data-store", "/var/lib/training/try-data")
    command = ("python", "-m", "training", "retrain", *places, "--as-of", "2020-01")
    assert "has no crop to train on" in inside("retrain", *command)


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


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("service", f"{NGINX}/readyz"),
        ("nginx", f"{NGINX}/readyz"),
        ("console", f"{CONSOLE}/livez"),
        ("reports", f"{REPORTS}/index.html"),
        ("postgres", f"{MLFLOW}/health"),
        ("mlflow", f"{MLFLOW}/health"),
        ("prometheus", f"{PROMETHEUS}/-/ready"),
        ("shipper", f"{NGINX}/readyz"),
        ("watch", f"{NGINX}/readyz"),
        ("retrain", f"{NGINX}/readyz"),
    ],
)
def test_a_killed_container_comes_back_and_no_acknowledged_read_is_lost(name, address):
    read_id = post_png("/v1/digit", digit_crops.load()[2].png)["read_id"]
    killed = process_of(name)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: process_of(name) not in (0, killed))
    wait_for(lambda: send(address)[0] == 200)
    wait_for(lambda: is_found(read_id))
