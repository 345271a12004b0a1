"""Parquet with a column of crops: files as bytes, or uint8 arrays. A row is an input.

A shard is a run of whole row groups, or a part of a large one: Parquet is read by row group, and a
worker that starts inside one passes over the rows before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from bulk.crop_column import CropColumn, crops_of, find_columns, names_of
from bulk.inputs import AT_ONCE, CHUNK_BYTES, Inputs, IsWanted, Shard, Skip, SourceError
from bulk.listing import Found, walk
from capture.store import Store, open_store

ENDING: Final = ".parquet"
MOST_PARTS: Final = 4  # of one row group: the last part passes over three quarters of it
_OF_ONE_SIZE: Final = "Expected all lists to be of size"  # pyarrow, of a null among them
_READ_BYTES: Final = 1024 * 1024  # of a column at once, so that no row group is held whole


@dataclass(frozen=True, slots=True)
class RowRange:
    """A shard: rows of one file."""

    url: str
    key: str
    row_groups: tuple[int, ...]
    skip_rows: int  # of the first row group
    num_rows: int
    first_row: int  # in the file, for the names of rows that have none
    row_bytes: int
    columns: CropColumn

    def chunks(self) -> Iterator[Inputs]:
        """Read 256 rows or 16 MB at once."""
        at_once = max(1, min(AT_ONCE, CHUNK_BYTES // max(self.row_bytes, 1)))
        row = self.first_row
        for batch in read_rows(self, at_once):
            names = self._names(batch, row)
            row += batch.num_rows
            yield Inputs(names, crops_of(batch.column(0)))

    def _names(self, batch: pa.RecordBatch, row: int) -> list[str]:
        places = [f"{self.key}#{row + place}" for place in range(batch.num_rows)]
        if self.columns.name is None:
            return places
        named = names_of(batch.column(1))
        return [place if name is None else name for name, place in zip(named, places, strict=True)]


def read_rows(rows: RowRange, at_once: int) -> Iterator[pa.RecordBatch]:
    """The range's rows, its two columns, a few at once."""
    given = 0
    try:
        for batch in _read(rows, at_once, is_plain=False):
            given += batch.num_rows
            yield batch
    except pa.ArrowInvalid as error:
        if _OF_ONE_SIZE not in str(error):
            raise
        rest = replace(rows, skip_rows=rows.skip_rows + given, num_rows=rows.num_rows - given)
        yield from _read(rest, at_once, is_plain=True)


def _read(rows: RowRange, at_once: int, *, is_plain: bool) -> Iterator[pa.RecordBatch]:
    filesystem, root = open_store(rows.url).arrow()
    names = [rows.columns.crop, *([rows.columns.name] if rows.columns.name else [])]
    with filesystem.open_input_file(f"{root}/{rows.key}") as file:
        metadata = _without_arrow_types(file) if is_plain else None
        opened = pq.ParquetFile(file, metadata=metadata, buffer_size=_READ_BYTES, pre_buffer=False)
        passed, left = 0, rows.num_rows
        for batch in opened.iter_batches(
            at_once, row_groups=list(rows.row_groups), columns=names, use_threads=False
        ):
            start = min(max(rows.skip_rows - passed, 0), batch.num_rows)
            wanted = batch.slice(start, left)
            passed += batch.num_rows
            left -= wanted.num_rows
            if wanted.num_rows:
                yield wanted.select(names)
            if not left:
                return


def _without_arrow_types(file: pa.NativeFile) -> pq.FileMetaData:
    """The footer, such that lists of one size are read as lists: pyarrow reads a null only there.

    Source: https://parquet.apache.org/docs/file-format/ (the footer, its length, PAR1)
    """
    size = file.size()
    length = int.from_bytes(file.read_at(4, size - 8), "little") + 8
    footer = file.read_at(length, size - length)
    other_key = footer.replace(b"ARROW:schema", b"other:schema")
    return pq.read_metadata(pa.BufferReader(b"PAR1" + other_key))


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """One file, or all below a folder or prefix."""

    url: str
    key: str | None  # None: all
    shard_rows: int
    crop_column: str | None  # None: found by its name and type
    name_column: str | None
    kind: str = "parquet"
    lists_once: bool = False

    def shards(self, is_wanted: IsWanted, skip: Skip) -> Iterator[Shard]:
        """Cut each file by its row groups; reads the footers only."""
        store = open_store(self.url)
        index = 0
        for found in parquet_files(store, self.key, skip):
            metadata, schema = _footer(store, found.key)
            columns = self._columns(found.key, schema)
            for rows in self._ranges(found.key, metadata, columns):
                stamp = f"{found.key}\0{found.stamp}\0{rows.row_groups}{rows.skip_rows}"
                digest = hashlib.sha256(stamp.encode()).hexdigest()
                size = rows.num_rows * rows.row_bytes
                content = rows if is_wanted(index) else None
                yield Shard(index, rows.num_rows, size, digest, content)
                index += 1

    def _columns(self, key: str, schema: pa.Schema) -> CropColumn:
        try:
            return find_columns(schema, self.crop_column, self.name_column)
        except SourceError as error:
            raise SourceError(f"{key}: {error}") from error

    def _ranges(
        self, key: str, metadata: pq.FileMetaData, columns: CropColumn
    ) -> Iterator[RowRange]:
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        first_row = 0
        for groups in cut_groups(sizes, self.shard_rows):
            num_rows = sum(sizes[group] for group in groups)
            row_bytes = _row_bytes(metadata, groups[0], columns.crop)
            parts = min(MOST_PARTS, -(-num_rows // self.shard_rows)) if len(groups) == 1 else 1
            for part in range(parts):
                start, end = num_rows * part // parts, num_rows * (part + 1) // parts
                yield RowRange(
                    url=self.url,
                    key=key,
                    row_groups=groups,
                    skip_rows=start,
                    num_rows=end - start,
                    first_row=first_row + start,
                    row_bytes=row_bytes,
                    columns=columns,
                )
            first_row += num_rows


def cut_groups(sizes: Sequence[int], shard_rows: int) -> Iterator[tuple[int, ...]]:
    """Runs of row groups with at most `shard_rows` rows together; a larger group is alone."""
    run: list[int] = []
    rows = 0
    for group, size in enumerate(sizes):
        if not size:
            continue
        if run and rows + size > shard_rows:
            yield tuple(run)
            run, rows = [], 0
        run.append(group)
        rows += size
    if run:
        yield tuple(run)


def parquet_files(store: Store, key: str | None, skip: Skip) -> Iterator[Found]:
    """One file, or every Parquet file of a store; other files are skipped."""
    if key is None:
        for found in walk(store, skip):
            if found.key.lower().endswith(ENDING):
                yield found
            else:
                skip(found.key, "no Parquet by its name")
        return
    filesystem, root = store.arrow()
    info = filesystem.get_file_info(f"{root}/{key}")
    yield Found(key, info.size, f"{info.size}-{info.mtime_ns}")


def _footer(store: Store, key: str) -> tuple[pq.FileMetaData, pa.Schema]:
    filesystem, root = store.arrow()
    try:
        with filesystem.open_input_file(f"{root}/{key}") as file:
            opened = pq.ParquetFile(file)
            return opened.metadata, opened.schema_arrow
    except pa.ArrowInvalid as error:
        raise SourceError(f"{key} is no Parquet file ({error}); take it away or repair it") from (
            error
        )


def _row_bytes(metadata: pq.FileMetaData, group: int, column: str) -> int:
    """Bytes of a row's crop, unpacked; of a column with members all are counted."""
    described: Any = metadata.row_group(group)
    size = sum(
        described.column(place).total_uncompressed_size
        for place in range(described.num_columns)
        if described.column(place).path_in_schema.partition(".")[0] == column
    )
    return int(size // max(described.num_rows, 1))
