"""The peers of the benchmark: small honest servers that do the same work as ours."""
