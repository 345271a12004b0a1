"""CloudWatch's embedded metric format: a JSON log line that CloudWatch Logs turns into metrics.

ECS ships stdout to CloudWatch Logs; elsewhere the lines are plain JSON.

Source:
    Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

import json
import time
from collections.abc import Mapping

from contract.metrics import NAMESPACE, SERVICE, UNITS


def line(values: Mapping[str, float], *, now_ms: int | None = None) -> str:
    """Format values of metrics named in `UNITS` as one line, without a newline.

    Args:
        values: metric -> value.
        now_ms: milliseconds since 1970; None: the clock.

    Raises:
        KeyError: a metric that `UNITS` does not have, so that no alarm could read it.
    """
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["Service"]],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
    }
    stamp_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return json.dumps(
        {
            "_aws": {"Timestamp": stamp_ms, "CloudWatchMetrics": [directive]},
            "Service": SERVICE,
            **values,
        }
    )
