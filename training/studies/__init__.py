"""Studies: programs that measure the product as a whole; no part of it."""
