"""SRC of the command line -> a source: told by its name and by what is in it."""

from __future__ import annotations

from typing import Final

from bulk.archive_source import ArchiveSource
from bulk.folder_source import FolderSource, is_picture
from bulk.inputs import Skipped, Source, SourceError
from bulk.job import JobOptions
from bulk.listing import find_one, walk
from bulk.packed_source import TARS, PackedSource
from bulk.parquet_source import ENDING, ParquetSource
from capture.archive import RECORDS, Window
from capture.store import open_store

KINDS: Final = ("folder", "parquet", "tar", "zip", "archive")


def choose_source(options: JobOptions, kind: str | None, days: Window | None) -> Source:
    """The source of a job.

    Args:
        options: of the job.
        kind: one of KINDS; None: found out.
        days: of an archive; None: all.

    Raises:
        SourceError: there is nothing, or nothing that can be read.
        OSError: it cannot be listed.
    """
    file = find_one(options.source)
    kind = kind or (_kind_of_folder(options.source) if file is None else _kind_of_file(file[1]))
    if days is not None and kind != "archive":
        raise SourceError(
            f"{options.source} is read as {kind}, which has no days; leave out --days"
        )
    if (file is None) == (kind in ("tar", "zip")) and kind != "parquet":
        what = "a file" if file else "a folder"
        raise SourceError(f"{options.source} is {what}; it cannot be read as {kind}")
    url, key = file or (options.source.rstrip("/") or "/", None)
    if kind == "parquet":
        columns = options.crop_column, options.name_column
        return ParquetSource(url, key, options.shard_rows, *columns)
    if key is not None:
        return PackedSource(url, key, options.shard_rows, kind)
    if kind == "archive":
        return ArchiveSource(url, options.shard_rows, days)
    return FolderSource(url, options.shard_rows)


def _kind_of_file(name: str) -> str:
    lower = name.lower()
    if lower.endswith(TARS):
        return "tar"
    for kind, ending in (("zip", ".zip"), ("parquet", ENDING)):
        if lower.endswith(ending):
            return kind
    raise SourceError(
        f"{name} is no Parquet, tar or zip by its name; give its --kind, or its folder for pictures"
    )


def _kind_of_folder(url: str) -> str:
    """By the first file that is a picture or Parquet."""
    for found in walk(open_store(url), Skipped()):
        if found.key.startswith(f"{RECORDS}/day=") and found.key.endswith(ENDING):
            return "archive"
        if found.key.lower().endswith(ENDING):
            return "parquet"
        if is_picture(found.key):
            return "folder"
    raise SourceError(f"{url} has neither PNG, JPEG nor Parquet files; give another source")
