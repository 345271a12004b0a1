"""The service behind deploy/nginx.conf, scraped by Prometheus, with the dashboard's queries.

The files of deploy/compose.yaml are used with other addresses; the programs run on this machine
instead of in containers.
"""

import asyncio
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadtest import digit_crops, servers
from loadtest.clients import openloop
from loadtest.clients.http1 import Connection, Request

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/digitline.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
# This series exists only after an overload.
EMPTY_WHEN_CALM = {query for query in QUERIES if "digits_shed_total" in query}

pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]


@dataclass
class Stack:
    nginx: int
    prometheus: int


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    tree, port = servers.start(servers.ours([servers.API_KEY]), folder / "service")
    proxy = scraper = None
    try:
        servers.wait_until(lambda: servers.is_ready(port), tree, timeout_s=60)
        proxy, nginx_port = start_nginx(folder, port)
        scraper, prometheus_port = start_prometheus(folder, port)
        drive(nginx_port)
        time.sleep(3)  # two scrapes after the last request
        yield Stack(nginx_port, prometheus_port)
    finally:
        for process in (proxy, scraper):
            if process is not None:
                process.terminate()
                process.wait(20)
        tree.terminate(grace_s=30)


def start_nginx(folder, service_port):
    port = servers.free_port()
    text = (ROOT / "deploy/nginx.conf").read_text()
    text = text.replace("service:3000", f"127.0.0.1:{service_port}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("/tmp/nginx.pid", str(folder / "nginx.pid"))
    (folder / "nginx.conf").write_text(text)
    command = ["nginx", "-e", "stderr", "-g", "daemon off;", "-c", str(folder / "nginx.conf")]
    return subprocess.Popen(command), port


def start_prometheus(folder, service_port):
    port = servers.free_port() + servers.PORTS_EACH  # nginx may not have bound its port yet
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    text = text.replace("service:3000", f"127.0.0.1:{service_port}").replace("5s", "1s")
    (folder / "prometheus.yml").write_text(text)
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", "--log.level=error"]
    command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 30
    while not query(port, "up == 1"):
        assert process.poll() is None
        assert time.monotonic() < deadline, "prometheus has not scraped the service"
        time.sleep(0.2)
    return process, port


def drive(port):
    """Five seconds of good crops and a few broken ones, through nginx."""
    headers = {"X-Api-Key": servers.API_KEY}
    pngs = [crop.png for crop in digit_crops.workload(28, 20)] + [b"no image"]
    wires = [Request("/v1/digit", "image/png", png, headers).wire("127.0.0.1") for png in pngs]
    sample = openloop.run("127.0.0.1", port, wires, openloop.constant(42, 5))
    assert sample.statuses() == {"200": 200, "415": 10}


def query(port, expression):
    parameters = urllib.parse.urlencode({"query": expression})
    address = f"http://127.0.0.1:{port}/api/v1/query?{parameters}"
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)["data"]["result"]
    except (ConnectionError, urllib.error.URLError):
        return []


@pytest.mark.parametrize("expression", sorted(set(QUERIES) - EMPTY_WHEN_CALM))
def test_every_panel_has_data(stack, expression):
    series = query(stack.prometheus, expression)
    assert series
    assert all(one["value"][1] != "NaN" for one in series)


def test_requests_are_counted_by_status(stack):
    series = query(stack.prometheus, "sum by (status) (digits_requests_total)")
    counts = {one["metric"]["status"]: float(one["value"][1]) for one in series}
    assert counts["200"] >= 200
    assert counts["415"] == 10


def test_metrics_cannot_be_read_through_nginx(stack):
    async def status(path):
        connection = await Connection.open("127.0.0.1", stack.nginx)
        answer = await connection.get(path)
        connection.close()
        return answer.status

    assert asyncio.run(status("/metrics")) == 404
    assert asyncio.run(status("/livez")) == 200
