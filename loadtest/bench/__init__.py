"""The benchmark: our service and its peers, measured in turn in one run."""
