"""The command line: `python -m loadtest COMMAND --help`."""

import importlib
import signal
import sys
from typing import Final

from loadtest.failure import LoadtestFailed

# command -> (module, function, help); only the module of the chosen command is imported
COMMANDS: Final = {
    "bench": ("bench.bench_command", "main", "measure our service and its peers; write the tables"),
    "run": ("load.load_command", "run", "run a load profile against a service; judge the SLO"),
    "local": ("load.load_command", "local", "start the service, load it, judge the SLO"),
    "compare": ("load.compare", "main", "compare the JSON files of two runs"),
    "soak": ("load.soak", "main", "run the sustained rate for long; draw memory and latency"),
    "sdk": ("faults.faults_command", "main", "the scanner SDK and two other clients under faults"),
    "simulate": ("simulator.simulate_command", "simulate", "simulate tasks, latency and cost"),
    "fit": ("simulator.service_fit", "main", "measure the service times that `simulate` uses"),
    "scale": ("simulator.high_rates", "main", "tasks, network and cost up to 100,000 requests/s"),
    "steps": ("simulator.scale_out", "main", "unplanned load: cost against refused requests"),
    "crops": ("bench.made_crops", "main", "write millions of made crops, for bulk jobs"),
    "validate": ("simulator.validate", "main", "compare the simulator with the real service"),
}


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name not in COMMANDS:
        print("usage: python -m loadtest COMMAND [--help]\n")
        print("\n".join(f"  {command:10} {what}" for command, (_, _, what) in COMMANDS.items()))
        if name in ("-h", "--help"):
            return 0
        print(f"loadtest: {name!r} is not a command; choose one of these", file=sys.stderr)
        return 2
    module, function, _ = COMMANDS[name]
    try:
        return int(getattr(importlib.import_module(f"loadtest.{module}"), function)(rest))
    except LoadtestFailed as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1


def _stop(number: int, _: object) -> None:
    """Exit as on Ctrl-C, so that the servers under test are stopped too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main(sys.argv[1:]))
