"""The HTTP edge: one request in, decided, out. See edge.py for the order of things."""
