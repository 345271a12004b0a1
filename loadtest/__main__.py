"""The command line: `python -m loadtest COMMAND --help`."""

import signal
import sys
from typing import Final

COMMANDS: Final = {
    "bench": "our server against its peers: one table, ratios in one run",
    "run": "load a running service with a shape, and judge the SLO",
    "local": "start the service, hold the steady rate, take a truck, judge, stop",
    "compare": "two runs side by side",
    "simulate": "arrivals, tasks and scaling policies on paper: latency, refusals, cost",
    "fit": "measure a running service for the simulator",
}


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name not in COMMANDS:
        print("usage: python -m loadtest COMMAND [--help]\n")
        print("\n".join(f"  {command:10} {what}" for command, what in COMMANDS.items()))
        return 0 if name in ("-h", "--help") else 2
    if name == "bench":
        from loadtest import bench_cli  # each command imports only what it needs

        return bench_cli.main(rest)
    if name in ("simulate", "fit"):
        from loadtest.simulator import cli

        return cli.main(name, rest)
    from loadtest import load_cli

    return load_cli.main(name, rest)


def _stop(number: int, _: object) -> None:
    """End as on Ctrl-C: the servers under test are stopped, too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main(sys.argv[1:]))
