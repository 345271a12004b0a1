"""Metric lines in CloudWatch's embedded metric format: a log line that becomes a metric.

ECS ships stdout to CloudWatch Logs, which reads the metrics out of such lines; locally they are
just JSON. Knows nothing about who prints them.

Source:
    Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import json
import time
from typing import Final

NAMESPACE: Final = "Digitline"
SERVICE: Final = "digits"  # the dimension that serving's own lines carry, too

UNITS: Final = {
    "DriftSeverity": "None",  # 0 calm, 1 watch, 2 act
    "DriftReportCompleted": "Count",
    "DriftRecords": "Count",
    "RejectShare": "Percent",
    "CaptureBacklogBytes": "Bytes",
}


def line(metrics: dict[str, float], *, now_ms: int | None = None) -> str:
    """Write one JSON line with metrics named in `UNITS`.

    Raises:
        KeyError: a metric that no alarm knows.
    """
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["Service"]],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in metrics],
    }
    stamp_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return json.dumps(
        {
            "_aws": {"Timestamp": stamp_ms, "CloudWatchMetrics": [directive]},
            "Service": SERVICE,
            **metrics,
        }
    )
