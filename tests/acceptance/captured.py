"""Capture under kills and faults: every answer's record must be in the archive exactly once.

Two programs do the work, capture_kills and capture_faults, each in its own process.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.acceptance.harness import ROOT, Report, only_ours

KILLS: Final = 25
QUICK_KILLS: Final = 2


def kills(report: Report, kind: str) -> None:
    """kill -9 of the writer and the shipper at eight named points."""
    _count(report, kind, "capture_kills")


def faults(report: Report, kind: str) -> None:
    """The running service under load: kills, SIGTERM, a full disk that the shipper empties."""
    _count(report, kind, "capture_faults")


def _count(report: Report, kind: str, script: str) -> None:
    only_ours(kind)
    num_kills = QUICK_KILLS if report.is_quick else KILLS
    with tempfile.TemporaryDirectory(prefix="acceptance-") as folder:
        out = Path(folder) / "counts.json"
        command = [sys.executable, "-m", f"tests.acceptance.{script}"]
        ran = subprocess.run(
            [*command, f"--kills={num_kills}", f"--json={out}"], cwd=ROOT, check=False
        )
        counts = json.loads(out.read_text()) if out.exists() else {}
    for name, found in counts.items():
        report.fact(name, found)
    report.expect("the script ends well", ran.returncode == 0)
    report.expect("every fault was tried", counts)
    report.expect("nothing that was answered is lost", not _sum(counts, "lost"))
    report.expect("nothing is read twice", not _sum(counts, "twice"))


def _sum(counts: dict[str, dict[str, int]], name: str) -> int:
    return sum(found[name] for found in counts.values())


CHECKS = {"capture-kills": kills, "capture-faults": faults}
