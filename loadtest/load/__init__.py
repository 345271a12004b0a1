"""The load test: shapes of scanner traffic, made, recorded and judged against the SLO."""
