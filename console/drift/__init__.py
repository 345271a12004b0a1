"""The room of the drift analyst: which site is dirty, and what to do about it."""
