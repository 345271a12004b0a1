"""Timeouts that the service, the load balancer in front of it and the load tests must agree on."""

from typing import Final

# Above a load balancer's idle timeout (60 s): otherwise it reuses a connection that we just closed.
KEEP_ALIVE_S: Final = 75
