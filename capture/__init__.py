"""What was answered is kept: a spool on disk, shipped to an archive of Parquet files.

Serving imports `record` and `spool` alone; the rest needs pyarrow and runs in the jobs image.
"""
