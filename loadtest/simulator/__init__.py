"""The capacity simulator: arrivals, tasks, scaling policies -> latency, refusals, cost."""
