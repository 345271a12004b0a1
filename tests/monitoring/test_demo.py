"""The demo: the same mail twice, nothing outside its folder, and nothing left after Ctrl-C."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from capture.labels import read_events
from capture.sampling import open_dataset
from capture.segments import read_spool
from capture.store import open_store

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
WITHIN_S = 400.0

pytestmark = pytest.mark.nightly


def mail_of(folder):
    """Every crop of archive and spool, and every label."""
    captures = open_store(str(folder / "captures"))
    table = open_dataset(captures, captures.find("records/")).to_table()
    rows = table.sort_by([("read_id", "ascending"), ("crop_index", "ascending")]).to_pylist()
    spooled = [
        (one.read_id, one.index, one.digit, one.confidence) for one in read_spool(folder / "spool")
    ]
    events = read_events(captures).sort_values("event_id", ignore_index=True)
    return rows, sorted(spooled), events.to_dict("records")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two small demos that were made at the same moment, without reports."""
    from capture.labels import add_events
    from monitoring.studies import demo_champions, demo_labels, demo_places, demo_reads

    folders = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        demo_champions.make_champions(folder, now=NOW, switched=NOW)
        plan = demo_reads.MonthPlan(
            glyphs=demo_places.GLYPHS,
            champion=folder / demo_places.CHAMPION,
            former=folder / demo_places.FORMER,
            spool=folder / "spool",
            captures=str(folder / "captures"),
            now=NOW,
            num_days=3,
            former_days=1,
            letters_a_day=8,
        )
        answered = demo_reads.read_month(plan)
        events = demo_labels.key_month(answered, held_site="dresden", seed=1)
        add_events(open_store(plan.captures), events)
        folders.append(folder)
    return folders


def test_the_same_moment_gives_the_same_mail_twice(made):
    one, two = map(mail_of, made)
    assert len(one[0]) > 3 * 4 * 8
    assert len(one[1]) > 4 * 8
    assert len(one[2]) > 0
    assert one == two


def test_the_month_is_read_by_two_models_and_marked_for_audits(made):
    rows, _, _ = mail_of(made[0])
    assert len({row["model_version"] for row in rows}) == 2
    assert any(row["audit_probability"] > 0 for row in rows)
    assert {len(row["site"]) > 0 for row in rows} == {True}


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("mail")
    done = subprocess.run(
        [sys.executable, "-m", "monitoring.studies.demo", "--folder", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is not a demo's folder and is left alone" in done.stderr
    assert precious.read_text() == "mail"


def tree(*folders):
    """Every file with its size and time."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def left_of(process, folder):
    """The command lines of processes of its group, and of those that run in the demo's folder."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            line = (one / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            is_of_group = os.getpgid(int(one.name)) == process.pid
            is_inside = (one / "cwd").readlink().is_relative_to(folder)
        except OSError:
            continue
        if is_of_group or is_inside or str(folder) in line:
            found.append(line)
    return found


def assert_nothing_is_left(process, folder):
    deadline = time.monotonic() + 5  # Python's resource tracker ends after its parent
    while found := left_of(process, folder):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


@pytest.fixture
def start(tmp_path):
    """Start a small demo in a shell whose settings name real stores; yields how, and the stores."""
    real = tmp_path / "real"
    shutil.copytree(ROOT / "model" / "champion", real / "model" / "champion")
    for name in ("spool", "captures", "reports", "data", "model-store"):
        (real / name).mkdir()
        (real / name / "kept").write_text("real")
    settings = {
        "DIGITS_CAPTURE_DIR": real / "spool",
        "DIGITS_CAPTURE_STORE": real / "captures",
        "DIGITS_REPORTS": real / "reports",
        "DIGITS_DATA_STORE": real / "data",
        "DIGITS_MODEL_STORE": real / "model-store",
        "DIGITS_CHAMPION": real / "model" / "champion",
        "DIGITS_CONSOLE_DATABASE": f"sqlite:///{real / 'console.db'}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{real / 'mlflow.db'}",
        "DIGITS_NONSENSE": "a mistake that would stop every program",
    }
    folder, log = tmp_path / "demo", tmp_path / "log"

    def run():
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "monitoring.studies.demo", "--folder", str(folder),
                 "--days", "2", "--letters", "4"],
                cwd=ROOT, env=os.environ | {name: str(one) for name, one in settings.items()},
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    processes = []

    def begin():
        processes.append(run())
        return processes[-1], log

    yield begin, folder, real
    for process in processes:
        if process.poll() is None:
            process.kill()


def wait_for_text(process, log, text):
    deadline = time.monotonic() + WITHIN_S
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    return log.read_text()


def in_its_shell(folder, command):
    """What a command prints in a shell that has sourced the demo's variables."""
    line = f"source {folder / 'environment'} && {sys.executable} -m monitoring {command}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    return done.stdout


def test_it_starts_answers_and_stops_without_touching_anything_else(start):
    begin, folder, real = start
    before = tree(real, ROOT / "model")
    process, log = begin()
    said = wait_for_text(process, log, "Ctrl-C stops everything")
    for address in re.findall(r"http://127\.0\.0\.1:\d+/\S*", said):
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.status == 200, address
    assert re.match(r"\d+ events; [1-9]\d* crops settled", in_its_shell(folder, "labels"))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 0
    assert_nothing_is_left(process, folder)
    assert tree(real, ROOT / "model") == before
    assert (folder / "console.db").exists()
    assert (folder / "train" / "verdict.json").exists()


def test_ctrl_c_while_the_mail_is_made_leaves_no_process(start):
    begin, folder, _ = start
    process, log = begin()
    wait_for_text(process, log, "making 2 days of mail")
    time.sleep(3)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 0
    assert log.read_text().rstrip().endswith("stopped")
    assert "Traceback" not in log.read_text()
    assert_nothing_is_left(process, folder)
