"""One request: admission, deadline, answer. Start with edge.py."""
