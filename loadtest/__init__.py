"""Load tests: the benchmark against peers, the test against the SLO, the capacity simulator."""
