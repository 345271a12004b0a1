"""Requests through a set of cores: first come, first served; refused when the wait is too long.

A request goes to the core with the least work before it, which equals one queue before all cores.
The load balancer's "least outstanding requests" comes close: with cores of equal speed its p99 is
1 to 7 % longer at 30 to 85 % load.
"""

import heapq
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

REFUSED: Final = -1.0


@dataclass(slots=True)
class Cores:
    """Cores; each is the time from which it is free."""

    free_at_s: list[float] = field(default_factory=list)  # a heap

    def set_number(self, number: int, now_s: float) -> None:
        """Add cores that are free now, or remove those that are free first.

        A removed core finishes its work and takes no more.
        """
        while len(self.free_at_s) < number:
            heapq.heappush(self.free_at_s, now_s)
        while len(self.free_at_s) > number:
            heapq.heappop(self.free_at_s)

    def serve(
        self, arrivals_s: NDArray[np.float64], services_s: NDArray[np.float64], max_wait_s: float
    ) -> NDArray[np.float64]:
        """Serve requests.

        Args:
            arrivals_s: (N,) ascending.
            services_s: (N,) how long each keeps a core busy.
            max_wait_s: a request that would wait longer is refused.

        Returns:
            (N,) seconds waited; `REFUSED` for a refused request.
        """
        # A plain loop over a heap: 10 million requests take about five seconds.
        free, replace = self.free_at_s, heapq.heapreplace
        waits: list[float] = []
        append = waits.append
        for arrival, service in zip(arrivals_s.tolist(), services_s.tolist(), strict=True):
            wait = free[0] - arrival
            if wait <= 0.0:
                replace(free, arrival + service)
                append(0.0)
            elif wait <= max_wait_s:
                replace(free, free[0] + service)
                append(wait)
            else:
                append(REFUSED)
        return np.array(waits)


def erlang_c(load: float, servers: int) -> float:
    """Probability that a request waits in M/M/c.

    Args:
        load: arrival rate times mean service time, below `servers`.
        servers: c.
    """
    blocked = 1.0  # Erlang B, by its numerically stable recursion
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return servers * blocked / (servers - load * (1 - blocked))


def mmc_wait_s(rate: float, service_s: float, servers: int) -> float:
    """Mean wait in M/M/c."""
    load = rate * service_s
    return erlang_c(load, servers) * service_s / (servers - load)
