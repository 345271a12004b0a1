from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_kill_9_at_eight_points_loses_nothing_that_was_acknowledged():
    ran = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.capture_kills", "--kills", "2"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "every acknowledged record is archived exactly once" in ran.stdout
