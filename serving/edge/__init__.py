"""One request admitted, timed and answered. Start with edge.py."""
