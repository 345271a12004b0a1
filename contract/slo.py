"""The service-level objective, which the load tests, the alarms and the documents share."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SLO_FILE: Final = Path(__file__).parent / "slo.toml"


@dataclass(frozen=True, slots=True)
class Slo:
    """What the service promises; `slo.toml` says what each value means."""

    sustained_rps: float
    p99_ms: float
    error_frac: float
    burst_rps: float
    burst_p99_ms: float
    availability: float


def load() -> Slo:
    """Read `slo.toml`.

    Raises:
        TypeError: a value is missing, or the file has one that is not known.
    """
    return Slo(**tomllib.loads(SLO_FILE.read_text()))
