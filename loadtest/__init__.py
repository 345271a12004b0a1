"""Load: the benchmark against peers, the load test against the SLO, the capacity simulator."""
