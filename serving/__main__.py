"""``python -m serving``: check the settings, then become the supervisor of the workers.

A mistake in the environment, the champion or a key file is one clear message and exit code 2
before the port is opened.
"""

import os
import sys

from serving.config import ConfigError, Settings, load_settings
from serving.server.supervisor import REFUSED

STOP_MARGIN_S = 15.0  # after draining, before what still runs is killed


def main() -> int:
    """Check, then exec. Returns only where something is amiss."""
    try:
        settings = load_settings()
    except ConfigError as error:
        sys.stderr.write(f"not starting: {error}\n")
        return REFUSED
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    sys.stderr.flush()
    # Replaced, not called: what reading the settings has imported is not needed any more.
    return os.execv(sys.executable, command(settings))  # noqa: S606


def command(settings: Settings) -> list[str]:
    """The supervisor's command line."""
    return [
        sys.executable,
        "-m",
        "serving.server.supervisor",
        f"--host={settings.host}",
        f"--port={settings.port}",
        f"--workers={settings.workers}",
        f"--stop-within-s={settings.drain_s + STOP_MARGIN_S:g}",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
