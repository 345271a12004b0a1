"""Serve the shipped champion until SIGTERM or Ctrl-C.

Every setting is an environment variable; --app serves another model than ours. It checks the
settings and then replaces itself by the supervisor, which starts the workers. A mistake in the
environment, the champion or a key file is one message and exit code 2 before the port is opened.
"""

import argparse
import os
import sys
from typing import Final

from serving.config import ConfigError, Settings, load_settings
from serving.config_text import to_help
from serving.server.supervisor import REFUSED

DIGITS: Final = "service:DigitService.to_asgi"  # what `bentoml serve` would start, too
STOP_MARGIN_S = 15.0  # from the end of draining until workers that still run are killed


def main() -> int:
    """Check the settings, then exec the supervisor. Returns only if they are refused."""
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description=__doc__,
        epilog=to_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--app",
        default=DIGITS,
        help="MODULE:FUNCTION that builds the application (default: %(default)s)",
    )
    args = parser.parse_args()
    try:
        settings = load_settings()
    except ConfigError as error:
        sys.stderr.write(f"not starting: {error}\n")
        return REFUSED
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    sys.stderr.flush()
    # exec, not a call: it frees what reading the settings has imported.
    return os.execv(sys.executable, command(settings, args.app))  # noqa: S606


def command(settings: Settings, app: str = DIGITS) -> list[str]:
    """The supervisor's command line."""
    return [
        sys.executable,
        "-m",
        "serving.server.supervisor",
        f"--host={settings.host}",
        f"--port={settings.port}",
        f"--workers={settings.workers}",
        f"--app={app}",
        f"--stop-within-s={settings.drain_s + STOP_MARGIN_S:g}",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
