"""Drift reports and alerts. ``python -m monitoring --help``."""
