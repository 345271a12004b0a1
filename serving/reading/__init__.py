"""Crops -> readings: decode, frame, batch, infer, decide, and keep what was read."""
