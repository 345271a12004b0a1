"""docs/api.md against a real server: every example runs, and is answered as the document says."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contract.timeouts import KEEP_ALIVE_S
from serving.config import Settings
from serving.problems import TITLES
from serving.server.connections import MAX_HEADER_BYTES, REST_DEADLINE_S

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "api.md").read_text()
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    (language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))
    for indent, language, text in BLOCK.findall(DOCUMENT)
]
COMMANDS = [text for language, text in EXAMPLES if language == "sh"]
PROGRAMS = [text for language, text in EXAMPLES if language == "python"]
ANSWERED = [
    (text, json.loads(after))
    for (language, text), (kind, after) in itertools.pairwise(EXAMPLES)
    if (language, kind) == ("sh", "json")
]


def run(*command, text, port):
    done = subprocess.run(
        [*command, text.replace("localhost:3000", f"127.0.0.1:{port}")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_there_are_examples_of_each_kind():
    assert (len(COMMANDS), len(PROGRAMS), len(ANSWERED)) == (5, 4, 3)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_answered(port, command):
    assert "request_id" in json.loads(run("bash", "-ec", text=command, port=port))
    assert "problem" not in run("bash", "-ec", text=command, port=port)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs(port, program):
    if "tritonclient" in program:
        pytest.importorskip("tritonclient.http")
    assert run(sys.executable, "-c", text=program, port=port) or "print" not in program


@pytest.mark.parametrize(("command", "said"), ANSWERED)
def test_a_command_answers_what_is_said(port, command, said):
    answer = json.loads(run("bash", "-ec", text=command, port=port))
    assert_like(said, answer)


def test_the_first_answer_of_the_readme_is_the_real_one(port):
    found = [text for _, _, text in BLOCK.findall(README)]
    at = next(place for place, text in enumerate(found) if "/v1/field" in text)
    answer = json.loads(run("bash", "-ec", text=found[at], port=port))
    assert_like(json.loads(found[at + 1]), answer)


def assert_like(said, answer):
    """Same members and values; of a list, only the first. The champion may be a newer one."""
    if isinstance(said, dict):
        assert list(said) == list(answer)
        for name in said:
            if name not in {"request_id", "read_id", "model_version"}:
                assert_like(said[name], answer[name])
    elif isinstance(said, list):
        for one, other in zip(said[:1], answer[:1], strict=False):  # the document may show []
            assert_like(one, other)
    elif isinstance(said, float):
        assert answer == pytest.approx(said, abs=0.01)
    else:
        assert answer == said


def test_every_status_is_in_the_table():
    rows = re.findall(r"^\| (\d{3}) \|", DOCUMENT, re.MULTILINE)
    assert rows == sorted(map(str, TITLES))


def test_the_limits_are_those_in_force():
    settings = Settings()
    limits = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", DOCUMENT, re.MULTILINE))
    single, many = settings.max_body_bytes // 2**20, settings.max_bulk_body_bytes // 2**20
    assert limits["body with one crop or field; with many"] == f"{single} MB; {many} MB"
    assert limits["time for a body to arrive"] == f"{settings.body_deadline_ms // 1000} s"
    assert limits["time to an answer"] == f"{settings.request_deadline_ms // 1000} s"
    assert limits["requests at once, in one worker: all; one key"].startswith(
        f"{settings.max_in_flight}; "
    )
    assert limits["predicted wait for the model"] == f"{settings.max_queue_wait_ms} ms"
    header = f"{MAX_HEADER_BYTES // 1024} KB; {REST_DEADLINE_S:g} s"
    assert limits["header, trailers"] == header
    assert limits["connection without a request"] == f"{KEEP_ALIVE_S} s"
