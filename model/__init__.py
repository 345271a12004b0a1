"""The model as a function: bytes in, decision out. Knows nothing of HTTP, storage or training."""
