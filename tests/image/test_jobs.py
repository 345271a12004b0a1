"""The image of the jobs, run as deployed: it turns the captures of a service into a report.

`deploy/image.sh jobs` builds the image and runs these tests.
"""

import uuid
from datetime import UTC, datetime

import pytest
from containers import HARDENED, JOBS, environment, podman, read, start

from loadtest import digit_crops

pytestmark = pytest.mark.skipif(not JOBS, reason="no image: run `deploy/image.sh jobs`")

HOME = "/var/lib/digitline"  # the only writable folder
WHERE = {
    "DIGITS_CAPTURE_DIR": f"{HOME}/spool",
    "DIGITS_CAPTURE_STORE": f"{HOME}/captures",
    "DIGITS_REPORTS": f"{HOME}/reports",
    "DIGITS_DATA_STORE": f"{HOME}/data",
    "MLFLOW_TRACKING_URI": f"sqlite:///{HOME}/mlflow.db",
}


def job(*command: str, volume: str = "") -> str:
    mounted = [f"--volume={volume}:{HOME}"] if volume else []
    flags = ["--rm", "--network=none", *HARDENED, *environment(WHERE), *mounted]
    return podman("run", *flags, JOBS, *command)


@pytest.fixture(scope="module")
def volume():
    """A volume in which the service has captured every test crop, once."""
    name = f"digitline-jobs-{uuid.uuid4().hex[:8]}"
    podman("volume", "create", name)
    try:
        spool = {"DIGITS_CAPTURE_DIR": WHERE["DIGITS_CAPTURE_DIR"]}
        service = start("digitline-jobs-test", f"--volume={name}:{HOME}", **spool)
        for crop in digit_crops.load():
            read(service, crop.png)
        podman("stop", "--time=40", service.name)
        podman("rm", service.name)
        yield name
    finally:
        podman("rm", "--force", "--time=0", "digitline-jobs-test", check=False)
        podman("volume", "rm", "--force", name, check=False)


@pytest.mark.parametrize(
    "command", ["training", "training retrain", "monitoring", "monitoring report"]
)
def test_a_command_has_help(command):
    assert "usage:" in job("python", "-m", *command.split(), "--help")


def test_mlflow_starts():
    assert "version" in job("mlflow", "--version")


def test_it_runs_without_root_and_cannot_write_to_its_own_files():
    assert job("id", "-u") == "10001"
    for path in ("/srv/digitline/service.py", "/x", "/tmp/x"):
        assert job("sh", "-c", f"echo > {path} || echo refused") == "refused", path


def test_a_run_knows_its_commit():
    label = podman(
        "inspect", '--format={{index .Labels "org.opencontainers.image.revision"}}', JOBS
    )
    commit = job("python", "-c", "from training.provenance import git_commit; print(git_commit())")
    assert commit == label


def test_training_finds_the_champions_fonts():
    found = "from training.data.fonts import find_fonts; print(find_fonts() is not None)"
    assert job("python", "-c", found).endswith("True")


def test_captures_of_the_service_become_a_report(volume):
    shipped = job("python", "-m", "monitoring", "ship", volume=volume)
    assert f" {len(digit_crops.load())} records" in shipped
    today = str(datetime.now(UTC).date())
    report = job("python", "-m", "monitoring", "report", "--current", today, volume=volume)
    assert f"{len(digit_crops.load())} records" in report
    pages = job("sh", "-c", f"ls -R {HOME}/reports", volume=volume)
    assert "index.html" in pages
    assert "has no crop to train on" in job(
        "python", "-m", "training", "retrain", "--work", f"{HOME}/train", volume=volume
    )
