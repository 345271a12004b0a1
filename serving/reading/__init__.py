"""Crops -> readings: decode, frame, batch, infer, decide, persist."""
