"""The peers of the benchmark: small servers on other stacks that do the same work as ours."""
