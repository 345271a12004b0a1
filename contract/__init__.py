"""What several packages must agree on: names, limits and formats. Standard library only."""
