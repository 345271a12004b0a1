"""With an unfit setting, file or champion the service does not start: one message, exit code 2."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.harness import ROOT, Report, free_port, only_ours

_COPIED = ("contract", "model", "serving", "capture", "service.py")


def refuses_to_start(report: Report, kind: str) -> None:
    """Each unfit setting, file and champion."""
    only_ours(kind)
    with tempfile.TemporaryDirectory(prefix="acceptance-") as name:
        folder = Path(name)
        (folder / "keys.json").write_text('{"keys": [{"site": "x"}]}')
        taken = socket.create_server(("127.0.0.1", free_port()))
        cases = {
            "a setting that is no number": {"DIGITS_MAX_BATCH_SIZE": "many"},
            "a setting out of range": {"DIGITS_WORKERS": "0"},
            "an error target nobody validated": {"DIGITS_ERROR_TARGET": "0.0000001"},
            "bound elsewhere without keys": {"DIGITS_HOST": "0.0.0.0"},
            "a key file that is none": {"DIGITS_API_KEYS_FILE": str(folder / "keys.json")},
            "a key file that is missing": {"DIGITS_API_KEYS_FILE": str(folder / "none")},
            "a capture folder that cannot be": {"DIGITS_CAPTURE_DIR": "/proc/no/folder"},
            "a postcode file that is missing": {"DIGITS_POSTCODES": str(folder / "none")},
            "a port that is taken": {"DIGITS_PORT": str(taken.getsockname()[1])},
            "two workers, one message": {
                "DIGITS_WORKERS": "2",
                "DIGITS_API_KEYS_FILE": str(folder / "none"),
            },
        }
        for case, env in cases.items():
            _expect_refusal(report, case, env, ROOT)
        taken.close()
        for case, tamper in _TAMPERINGS.items():
            copy = folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            _copy(copy)
            tamper(copy / "model" / "champion")
            _expect_refusal(report, case, {}, copy)
    report.fact("cases", len(cases) + len(_TAMPERINGS))


def _copy(to: Path) -> None:
    to.mkdir()
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to / name)


def _flip_a_bit(champion: Path) -> None:
    data = bytearray((champion / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (champion / "model.onnx").write_bytes(data)


_TAMPERINGS = {
    "a champion with one bit flipped": _flip_a_bit,
    "a champion without a model": lambda champion: (champion / "model.onnx").unlink(),
    "a champion without a manifest": lambda champion: (champion / "manifest.json").unlink(),
    "a manifest that is no JSON": lambda champion: (champion / "manifest.json").write_text("{"),
    "a golden crop of another digit": lambda champion: (champion / "golden.png").write_bytes(
        next((ROOT / "tests" / "data" / "crops").glob("0-*.png")).read_bytes()
    ),
}


def _expect_refusal(report: Report, case: str, env: dict[str, str], folder: Path) -> None:
    port = free_port()
    variables = os.environ | {"PYTHONPATH": str(folder), "DIGITS_PORT": str(port)} | env
    begun = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-m", "serving"],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    seconds = time.perf_counter() - begun
    lines = [line for line in process.stderr.splitlines() if line]
    message = lines[-1] if lines else ""
    report.fact(case, f"exit {process.returncode} after {seconds:.1f} s: {message[:110]}")
    report.expect(f"{case}: exit code 2", process.returncode == 2)
    report.expect(
        f"{case}: one message, not {lines}",
        len(lines) == 1 and message.startswith("not starting: "),
    )


CHECKS = {"refuses-to-start": refuses_to_start}
