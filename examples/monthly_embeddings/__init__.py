"""Search of pictures by words, fitted anew each month on the pairs that have arrived."""
