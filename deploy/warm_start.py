"""Starts the service during the image build and reads one crop.

Python compiles the imported modules here, so the first start in production does not. The build
fails if the service cannot start.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

PORT: Final = 39_217
WITHIN_S: Final = 60.0


def main() -> None:
    """Start, wait, read the golden crop, stop."""
    env = {
        **os.environ,
        "DIGITS_HOST": "127.0.0.1",
        "DIGITS_PORT": str(PORT),
        "DIGITS_DRAIN_S": "0",
    }
    with subprocess.Popen([sys.executable, "-m", "serving"], env=env) as process:
        try:
            wait_until_ready(process)
            crop = Path("model/champion/golden.png").read_bytes()
            request = urllib.request.Request(
                f"http://127.0.0.1:{PORT}/v1/digit", crop, {"Content-Type": "image/png"}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (http, ours)
                print(answer.read().decode())
        finally:
            process.terminate()


def wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    """Poll /readyz.

    Raises:
        RuntimeError: the service exited, or was not ready in time.
    """
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"the service was not ready within {WITHIN_S:g} s")


if __name__ == "__main__":
    main()
