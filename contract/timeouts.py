"""Timeouts that the service, the load balancer in front of it and the load tests must agree on."""

from typing import Final

ALB_IDLE_S: Final = 60
# > ALB_IDLE_S: otherwise the load balancer reuses a connection that the server just closed: 502
KEEP_ALIVE_S: Final = 75
REQUEST_DEADLINE_S: Final = 2
DRAIN_S: Final = 25  # on AWS the task serves this long after SIGTERM, while the ALB deregisters it
DEREGISTRATION_S: Final = 30  # >= drain; AWS's 300 s would make each deployment 5 min longer
STOP_TIMEOUT_S: Final = 60  # > deadline + drain + shipping the last captures
