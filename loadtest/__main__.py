"""The command line: `python -m loadtest COMMAND --help`."""

import importlib
import signal
import sys
from typing import Final

from loadtest.failure import LoadtestFailed

# command -> (module, function, what it does); a module is imported only for its own command
COMMANDS: Final = {
    "bench": (
        "bench.bench_command",
        "main",
        "our server against its peers: one table, ratios in one run",
    ),
    "run": ("load.load_command", "run", "load a running service with a shape, and judge the SLO"),
    "local": (
        "load.load_command",
        "local",
        "start the service, hold the steady rate, take a truck, judge",
    ),
    "compare": ("load.compare", "main", "two runs side by side"),
    "soak": ("load.soak", "main", "the sustained rate for long: memory and latency drawn"),
    "simulate": (
        "simulator.simulate_command",
        "simulate",
        "tasks and scaling on paper: latency, refusals, cost",
    ),
    "fit": ("simulator.service_fit", "main", "measure a running service for the simulator"),
    "scale": ("simulator.high_rates", "main", "tasks, network and cost at 10,000 and 100,000 RPS"),
    "validate": ("simulator.validate", "main", "the simulator against the real service, nginx"),
}


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name not in COMMANDS:
        print("usage: python -m loadtest COMMAND [--help]\n")
        print("\n".join(f"  {command:10} {what}" for command, (_, _, what) in COMMANDS.items()))
        return 0 if name in ("-h", "--help") else 2
    module, function, _ = COMMANDS[name]
    try:
        return int(getattr(importlib.import_module(f"loadtest.{module}"), function)(rest))
    except LoadtestFailed as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1


def _stop(number: int, _: object) -> None:
    """End as on Ctrl-C: the servers under test are stopped, too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main(sys.argv[1:]))
