"""The metrics that our code writes to CloudWatch: alarms, dashboard and autoscaling read them.

Each name is written by one part of the code, with the unit given here.
"""

from typing import Final

NAMESPACE: Final = "Digitline"
SERVICE: Final = "digits"  # value of the dimension `Service`, which all of these carry

SERVING: Final = {  # one line a minute from each worker
    "Requests": "Count",
    "Errors": "Count",
    "Shed": "Count",
    "Accepted": "Count",
    "Rejected": "Count",
    "SiteTrips": "Count",
    "InFlight": "Count",
    "KeysAgeSeconds": "Seconds",  # since the API keys were last read
}
JOBS: Final = {
    "DriftSeverity": "None",  # 0 calm, 1 watch, 2 act
    "DriftReportCompleted": "Count",
    "DriftRecords": "Count",
    "RejectShare": "Percent",
    "CaptureBacklogBytes": "Bytes",
}
UNITS: Final = SERVING | JOBS
# With a second dimension `Version`, the release's image tag: a canary is compared with the others.
BY_VERSION: Final = ("Accepted", "Rejected")
