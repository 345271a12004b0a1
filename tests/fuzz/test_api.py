"""The API compared with its description, by every check that schemathesis has.

Its command line is used: its pytest plugin fails with pytest 9.2.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES_PER_OPERATION = 5


def test_every_request_from_the_description_is_answered_as_described(port, tmp_path):
    done = subprocess.run(
        [
            Path(sys.executable).with_name("st"),
            *("--config-file", ROOT / "schemathesis.toml"),
            *("run", f"http://127.0.0.1:{port}/openapi.json"),
            *("--phases", "examples,coverage,fuzzing", "--checks", "all"),
            *("--max-examples", str(CASES_PER_OPERATION), "--seed", "1", "--continue-on-failure"),
        ],
        cwd=tmp_path,  # it leaves a cache
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
