"""From the release before to this one and back, on one set of compose's volumes.

The release before is a commit of this repository, run with the packages of this one. Each release
runs with the settings of its own compose.yaml; a folder stands for each volume.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml
from own_server import free_port, wait_until_ready

from capture.labels import event_files, events_in
from capture.store import open_store

ROOT = Path(__file__).parents[1]
RELEASE_BEFORE = "a3dca39"  # before the console: records of version 5, no scope review
CROP = (ROOT / "tests/data/crops/7-00585.png").read_bytes()

pytestmark = pytest.mark.nightly  # four starts of a service, a minute


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The folder of the release before."""
    folder = tmp_path_factory.mktemp("before")
    found = subprocess.run(
        ["git", "archive", RELEASE_BEFORE], cwd=ROOT, capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip("this copy has no git history with the release before")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def compose(code):
    """compose.yaml of a release."""
    return yaml.safe_load((code / "deploy/compose.yaml").read_text())


def mounts(code):
    """(volume, service, folder in the container) of each mount of a release's compose.yaml."""
    return {
        (source, name, target)
        for name, service in compose(code)["services"].items()
        for source, target, *_ in (one.split(":") for one in service.get("volumes", []))
        if source in compose(code)["volumes"]
    }


class Installation:
    """What an upgrade keeps: the volumes and the keys."""

    def __init__(self, folder):
        self.folder, self.keys, self.port = folder, folder / "keys.json", free_port()

    def environment(self, code, service):
        """What compose.yaml of a release gives to a service, with our folders for its volumes."""
        targets = {
            target: self.folder / "volumes" / volume
            for volume, name, target in mounts(code)
            if name == service
        } | {"/run/secrets/api_keys": self.keys, "/srv/models": code / "model"}
        settings = dict(compose(code)["services"][service]["environment"])
        for target, ours in targets.items():
            settings = {name: value.replace(target, str(ours)) for name, value in settings.items()}
        return settings | {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "DIGITS_PORT": str(self.port),
            "DIGITS_DRAIN_S": "1",
        }  # fmt: skip

    def python(self, code, service, *arguments):
        """Run a module of a release as a service; its exit code and what it printed."""
        ran = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=code, env=self.environment(code, service),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return ran.returncode, ran.stdout + ran.stderr

    def new_key(self, code, *scopes):
        """The key; `code` makes its entry."""
        _, text = self.python(
            code, "service", "serving.keys", "new", "--site", scopes[0],
            "--scopes", ",".join(scopes), "--file", str(self.keys),
        )  # fmt: skip
        return text.partition("once): ")[2].split()[0]

    @contextmanager
    def serving(self, code, key):
        """A client of the service of a release."""
        log = self.folder / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "serving"], cwd=code, env=self.environment(code, "service"),
                stdout=output, stderr=output,
            )  # fmt: skip
        try:
            wait_until_ready(self.port, process, log)
            headers = {"authorization": f"Bearer {key}", "content-type": "image/png"}
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers) as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()[-2000:]

    def read(self, code, key):
        """One read by a release; its id."""
        with self.serving(code, key) as client:
            return read(client)

    def ship(self, code):
        """Ship the spool into the archive with a release."""
        returned, text = self.python(code, "shipper", "monitoring", "ship")
        assert returned == 0, text

    def finds(self, code, read_id):
        """Whether a release finds a read in the archive."""
        return self.python(code, "shipper", "monitoring", "find", read_id)[0] == 0


def read(client):
    """One read; its id."""
    answer = client.post("/v1/digit", content=CROP)
    assert answer.status_code == 200, answer.text
    return answer.json()["read_id"]


def label(client, read_id, digit):
    """Store a label of a read."""
    said = {"read_id": read_id, "crop_index": 0, "label": digit, "who": "anna", "how": "keyed"}
    body = json.dumps({"labels": [said | {"when": datetime.now(UTC).isoformat()}]})
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/labels", content=body, headers=headers)
    assert answer.status_code == 200, answer.text


def test_an_upgrade_and_the_way_back_lose_no_record_label_or_key(before, tmp_path):
    own = Installation(tmp_path)
    key = own.new_key(before, "predict", "label")
    with own.serving(before, key) as client:
        old, labelled = read(client), read(client)
        label(client, labelled, "1")
    with own.serving(ROOT, key) as client:  # the new release, before the old spool is shipped
        new = read(client)
        label(client, old, "7")
    back = own.read(before, key)  # and back

    own.ship(before)
    for read_id in (old, labelled, back):
        assert own.finds(before, read_id)
    assert not own.finds(before, new)  # a later version of the record: kept, not understood
    volumes = tmp_path / "volumes"
    kept = list((volumes / "spool/spool").glob("*.bad"))
    assert kept
    for one in kept:  # docs/upgrading.md, forward again
        one.rename(one.with_suffix(".done"))
    own.ship(ROOT)
    for read_id in (old, labelled, new, back):
        assert own.finds(ROOT, read_id)
    assert own.finds(before, new)  # the archive is readable both ways
    archive = open_store(str(volumes / "captures"))
    events = events_in(archive, event_files(archive))[["read_id", "label", "who"]]
    assert sorted(events.to_numpy().tolist()) == sorted(
        [[labelled, "1", "anna"], [old, "7", "anna"]]
    )


def test_the_release_before_names_a_key_that_it_does_not_know(before, tmp_path):
    own = Installation(tmp_path)
    own.new_key(ROOT, "review")
    returned, text = own.python(before, "service", "serving")
    assert returned == 2
    assert "choose from predict, label, admin" in text


def test_compose_keeps_each_volume_under_its_name_and_in_its_place(before):
    assert compose(ROOT)["name"] == compose(before)["name"]  # the prefix of the volumes' names
    assert mounts(before) <= mounts(ROOT)
    owned = "install -d -o ([0-9:]+ -g [0-9]+) "
    for name in ("Dockerfile", "Dockerfile.jobs"):
        images = [(code / "deploy" / name).read_text() for code in (before, ROOT)]
        assert len({tuple(re.findall(owned, one)) for one in images}) == 1, name


def test_the_database_of_compose_keeps_its_major_version(before):
    """Another one does not start on the old one's files."""
    images = [compose(code)["services"]["postgres"]["image"] for code in (before, ROOT)]
    assert len({re.match(r"postgres:\d+", one)[0] for one in images}) == 1
