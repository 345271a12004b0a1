"""The capacity simulator: arrivals -> tasks -> policies, on paper that computes."""
