"""The load test: scanner traffic is generated, recorded and judged against the SLO."""
