"""Evaluation of a candidate: the test sets, the statistics and the report pages."""
