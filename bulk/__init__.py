"""Stored crops -> Parquet of answers. Knows nothing about HTTP, capture's spool or drift."""
