"""Captures what was answered: a spool on disk, shipped to an archive of Parquet files.

Serving imports only `record`, `spool` and what they need; the rest needs pyarrow and runs in the
jobs image.
"""
