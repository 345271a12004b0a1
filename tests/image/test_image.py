"""The service's image, run as deployed: read-only, no root, no capabilities, 512 MB, one core.

`make image-test` (deploy/image.sh) builds the image and passes its name in DIGITLINE_IMAGE.
"""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from containers import DRAIN_S, IMAGE, Container, podman, read, request, run_python, start

from loadtest import digit_crops
from loadtest.bench.peers.same_work import Reader
from loadtest.clients import openloop

MAX_BYTES = 330_000_000
MAX_START_RATIO = 3.0

pytestmark = pytest.mark.skipif(not IMAGE, reason="no image: run `make image-test`")


@pytest.fixture(scope="module")
def container():
    yield start("digitline-image-test")
    podman("rm", "--force", "--time=0", "digitline-image-test", check=False)


def drive(container: Container, rps: float, seconds: float) -> openloop.Sample:
    samples = digit_crops.workload(28, 20)
    wires = [request(crop.png).wire("127.0.0.1") for crop in samples]
    arrivals_s = openloop.constant(rps, seconds)
    return openloop.run("127.0.0.1", container.port, wires, arrivals_s)


def test_it_is_small():
    size = json.loads(podman("image", "inspect", IMAGE))[0]["Size"]
    print(f"\nsize: {size / 1e6:.0f} MB")
    assert size <= MAX_BYTES


def test_its_labels_name_the_model():
    labels = json.loads(podman("image", "inspect", IMAGE))[0]["Labels"]
    manifest = json.loads(
        (Path(digit_crops.CROPS).parents[2] / "model/champion/manifest.json").read_text()
    )
    assert labels["digitline.model.version"] == manifest["version"]
    assert labels["digitline.model.sha256"] == manifest["sha256"]


def test_its_start_takes_little_longer_than_its_imports():
    """Compared within the same limits, best of three each, so that the machine's speed cancels."""
    starts_s, imports_s = [], []
    for number in range(3):
        one = start(f"digitline-start-{number}")
        starts_s.append(one.ready_s)
        podman("rm", "--force", "--time=0", one.name)
        imports_s.append(run_python("import bentoml, serving.build"))
    ratio = min(starts_s) / min(imports_s)
    print(f"\nstart to ready: {min(starts_s):.2f} s, {ratio:.2f} times its imports")
    assert ratio <= MAX_START_RATIO


def test_it_runs_without_root_and_cannot_write_to_its_own_files(container):
    assert podman("exec", container.name, "id", "-u") == "10001"
    for path in ("/srv/digitline/service.py", "/etc/x", "/x", "/tmp/x"):
        done = podman("exec", container.name, "sh", "-c", f"echo > {path} || echo refused")
        assert done == "refused", path
    podman("exec", container.name, "sh", "-c", "echo > /var/lib/digitline/x")


def test_every_test_crop_is_read_as_outside_the_image(container):
    reader = Reader()
    for crop in digit_crops.load():
        inside, outside = read(container, crop.png), reader.read(crop.png)
        assert inside["digit"] == outside["digit"]
        assert inside["confidence"] == pytest.approx(outside["confidence"], abs=1e-4)


def test_a_hundred_requests_a_second_for_half_a_minute_are_all_answered(container):
    sample = drive(container, 100, 30)
    print(
        f"\n100 requests/s: p50 {sample.percentile_ms(50):.1f} ms, "
        f"p99 {sample.percentile_ms(99):.1f} ms, {sample.statuses()}"
    )
    assert sample.statuses() == {"200": 3000}


def test_its_health_check_passes(container):
    podman("healthcheck", "run", container.name)
    assert podman("inspect", "--format={{.State.Health.Status}}", container.name) == "healthy"


def test_memory_stays_below_the_limit(container):
    used = podman("stats", "--no-stream", "--format={{.MemUsage}}", container.name)
    print(f"\nmemory: {used}")
    assert podman("inspect", "--format={{.State.OOMKilled}}", container.name) == "false"


def test_a_stop_under_load_loses_no_request_sent_before_the_socket_closed():
    one = start("digitline-drain")
    stop_at_s = 2.0
    stopper = subprocess.Popen(
        ["sh", "-c", f"sleep {stop_at_s}; exec podman stop --time=40 {one.name}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sample = drive(one, 100, stop_at_s + DRAIN_S + 2)
    stopper.wait(60)
    before = sample.sent_at_s < stop_at_s + DRAIN_S - 0.5
    assert np.all(sample.status[before] == 200)
    assert podman("inspect", "--format={{.State.ExitCode}}", one.name) == "0"
    podman("rm", one.name)
