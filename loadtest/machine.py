"""Where a number comes from: hardware, date, commit, command."""

import os
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def provenance(command: Sequence[str]) -> dict[str, Any]:
    """The record that accompanies every measured number."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": hardware(),
        "commit": commit(),
        "command": " ".join(command),
    }


def source(command: Sequence[str]) -> str:
    """The same record as one line."""
    facts = provenance(command)
    return f"{facts['date']}, {facts['machine']}, commit {facts['commit']}: {facts['command']}"


def hardware() -> str:
    """Processor, cores and memory in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {os.cpu_count()} cores, {memory_gb:.0f} GB"


def commit() -> str:
    """The short hash of the checked-out commit, or `unknown` outside of a checkout."""
    finished = subprocess.run(
        ["git", "-C", str(Path(__file__).parents[1]), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.stdout.strip() or "unknown"
