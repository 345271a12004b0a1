"""CloudWatch's embedded metric format: a JSON log line that CloudWatch Logs turns into metrics.

ECS ships stdout to CloudWatch Logs; elsewhere the lines are plain JSON.

Source:
    Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

import json
import time
from collections.abc import Mapping, Sequence

from contract.metrics import BY_VERSION, NAMESPACE, SERVICE, UNITS


def line(
    values: Mapping[str, float], *, version: str | None = None, now_ms: int | None = None
) -> str:
    """Format values of metrics named in `UNITS` as one line, without a newline.

    Args:
        values: metric -> value.
        version: of the service; None: no metric carries the dimension `Version`.
        now_ms: milliseconds since 1970; None: the clock.

    Raises:
        KeyError: a metric that `UNITS` does not have, so that no alarm could read it.
    """
    directives = [_directive(list(values), ["Service"])]
    if version is not None:
        named = [name for name in BY_VERSION if name in values]
        directives.append(_directive(named, ["Service", "Version"]))
    stamp_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return json.dumps(
        {
            "_aws": {"Timestamp": stamp_ms, "CloudWatchMetrics": directives},
            "Service": SERVICE,
            **({} if version is None else {"Version": version}),
            **values,
        }
    )


def _directive(names: Sequence[str], dimensions: list[str]) -> dict[str, object]:
    return {
        "Namespace": NAMESPACE,
        "Dimensions": [dimensions],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in names],
    }
