"""The corpus of api_bodies.py and some new requests: no body causes a 5xx."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_body_of_the_corpus_and_no_new_one_causes_a_fault():
    done = subprocess.run(
        [sys.executable, "tests/fuzz/api_bodies.py", "--requests", "300", "--seed", "5"],
        cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
