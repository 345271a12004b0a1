"""From the release before to this one and back, with one spool, archive and key file.

The release before is a commit of this repository, run with the packages of this one.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from own_server import free_port, wait_until_ready

from capture.labels import event_files, events_in
from capture.store import open_store

ROOT = Path(__file__).parents[1]
RELEASE_BEFORE = "a3dca39"  # version 0.9: records of version 5, keys without the scope review
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


class Installation:
    """What an upgrade keeps: spool, archive and keys."""

    def __init__(self, folder):
        self.folder, self.keys = folder, folder / "keys.json"
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder),
            "DIGITS_CAPTURE_DIR": str(folder / "spool"),
            "DIGITS_CAPTURE_STORE": str(folder / "captures"),
            "DIGITS_API_KEYS_FILE": str(self.keys), "DIGITS_PORT": str(free_port()),
        }  # fmt: skip

    def python(self, code, *arguments):
        """Run a module of a release; its exit code and what it printed."""
        ran = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=code, env=self.environment,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return ran.returncode, ran.stdout + ran.stderr

    def new_key(self, code, *scopes):
        """The key; `code` makes its entry."""
        _, text = self.python(
            code, "serving.keys", "new", "--site", scopes[0], "--scopes", ",".join(scopes),
            "--file", str(self.keys),
        )  # fmt: skip
        return text.partition("once): ")[2].split()[0]

    @contextmanager
    def serving(self, code, key):
        """A client of the service of a release."""
        port, log = int(self.environment["DIGITS_PORT"]), self.folder / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "serving"], cwd=code, env=self.environment,
                stdout=output, stderr=output,
            )  # fmt: skip
        try:
            wait_until_ready(port, process, log)
            headers = {"authorization": f"Bearer {key}", "content-type": "image/png"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()[-2000:]

    def read(self, code, key):
        """One read by a release; its id."""
        with self.serving(code, key) as client:
            answer = client.post("/v1/digit", content=CROP)
            assert answer.status_code == 200, answer.text
            return answer.json()["read_id"]

    def ship(self, code):
        """Ship the spool into the archive with a release."""
        returned, text = self.python(code, "monitoring", "ship")
        assert returned == 0, text

    def finds(self, code, read_id):
        """Whether a release finds a read in the archive."""
        return self.python(code, "monitoring", "find", read_id)[0] == 0


def test_an_upgrade_and_the_way_back_lose_no_record_label_or_key(before, tmp_path):
    own = Installation(tmp_path)
    key = own.new_key(before, "predict", "label")
    old = own.read(before, key)
    with own.serving(ROOT, key) as client:  # the new release, before the old spool is shipped
        new = client.post("/v1/digit", content=CROP).json()["read_id"]
        now = {"when": datetime.now(UTC).isoformat()}
        label = {"read_id": old, "crop_index": 0, "label": "7", "who": "anna", "how": "keyed"}
        answer = client.post(
            "/v1/labels", content=json.dumps({"labels": [label | now]}),
            headers={"content-type": "application/json"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
    back = own.read(before, key)  # and back

    own.ship(before)
    assert own.finds(before, old)
    assert own.finds(before, back)
    assert not own.finds(before, new)  # a later version of the record: kept, not understood
    kept = list((tmp_path / "spool").glob("*.bad"))
    assert kept
    for one in kept:  # docs/upgrading.md, forward again
        one.rename(one.with_suffix(".done"))
    own.ship(ROOT)
    for read_id in (old, new, back):
        assert own.finds(ROOT, read_id)
    assert own.finds(before, new)  # the archive is readable both ways
    archive = open_store(str(tmp_path / "captures"))
    events = events_in(archive, event_files(archive))
    assert events[["read_id", "label", "who"]].to_numpy().tolist() == [[old, "7", "anna"]]


def test_the_release_before_names_a_key_that_it_does_not_know(before, tmp_path):
    own = Installation(tmp_path)
    own.new_key(ROOT, "review")
    returned, text = own.python(before, "serving")
    assert returned == 2
    assert "choose from predict, label, admin" in text
