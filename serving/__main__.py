"""Check everything, then become the server: ``python -m serving``.

A mistake in the environment, the champion or a key file is one clear message and exit code 2
before a port is opened; then this process is replaced by ``bentoml serve`` with the flags that a
load balancer in front needs.
"""

import os
import sys

from model.errors import ModelError
from monitoring.capture import SpoolError
from serving.build import build_edge
from serving.config import ConfigError, load_settings
from serving.keys import KeysError
from serving.postcode import PostcodesError

KEEP_ALIVE_S = 75  # above a load balancer's idle timeout of 60, or it reuses what we just closed
GRACEFUL_SHUTDOWN_S = 15  # after draining; a call that hangs is cut off then
BACKLOG = 2048


def main() -> int:
    """Check, then exec. Returns only where something is amiss."""
    try:
        settings = load_settings()
        build_edge(_no_app)
    except (ConfigError, ModelError, KeysError, PostcodesError, SpoolError) as error:
        sys.stderr.write(f"not starting: {error}\n")
        return 2
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    # The worker must judge the address that is bound here, not the default of its own settings.
    os.environ["DIGITS_HOST"] = settings.host
    os.environ["BENTOML_CONFIG_OPTIONS"] = f"services.digits.workers={settings.workers}"
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "service:DigitService",
        f"--host={settings.host}",
        f"--port={settings.port}",
        f"--backlog={BACKLOG}",
        f"--timeout-keep-alive={KEEP_ALIVE_S}",
        f"--timeout-graceful-shutdown={GRACEFUL_SHUTDOWN_S}",
    ]
    sys.stderr.flush()
    return os.execv(sys.executable, command)  # noqa: S606


async def _no_app(scope: object, receive: object, send: object) -> None:
    """Stands where BentoML's application will be; nothing is served before the exec."""


if __name__ == "__main__":
    raise SystemExit(main())
