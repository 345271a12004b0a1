"""Faults survived: each check starts its own server, harms it, counts, and says what missed."""
