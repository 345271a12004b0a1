"""What was answered is kept, and what changes is noticed: capture, drift, alerts.

`records` and `capture` run inside the serving process and import nothing heavy.
Everything else runs in its own process: ``python -m monitoring --help``.
"""
