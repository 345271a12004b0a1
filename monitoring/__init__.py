"""What changes is noticed: drift reports and alerts. ``python -m monitoring --help``."""
