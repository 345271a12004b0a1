"""Which Parquet files of an archive are whole: a copy that was cut must not hide all others.

Our own writes are whole or not at all (`capture.store`); an interrupted copy or a broken disk
leaves less. Only a folder is checked, as S3 stores an object whole or not at all. Knows nothing
about what the files hold.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.fs

from capture.archive import decode
from capture.store import Store, StoreError

log = logging.getLogger(__name__)

_MAGIC: Final = b"PAR1"
_NUM_END_BYTES: Final = 8  # length of the footer, then the magic
REMEDY: Final = "restore it from a copy, or move it out of the archive"


def whole_files(store: Store, keys: Sequence[str]) -> list[str]:
    """The files that have a footer; each other one is left out and logged."""
    filesystem, root = store.arrow()
    if not isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        return list(keys)
    whole = []
    for key in keys:
        if _has_footer(filesystem, f"{root}/{key}"):
            whole.append(key)
        else:
            log.error("%s/%s is damaged and left out; %s", store.url, key, REMEDY)
    return whole


def read_whole(store: Store, key: str) -> pa.Table:
    """A file that cannot be left out: without some labels, others count.

    Raises:
        StoreError: it is damaged, or the store failed.
    """
    try:
        return decode(store.get(key))
    except pa.ArrowException as error:
        raise StoreError(f"{store.url}/{key} is damaged: {error}; {REMEDY}") from error


def _has_footer(filesystem: pyarrow.fs.FileSystem, path: str) -> bool:
    try:
        with filesystem.open_input_file(path) as file:
            size = int(file.size())
            if size < len(_MAGIC) + _NUM_END_BYTES:
                return False
            end = bytes(file.read_at(_NUM_END_BYTES, size - _NUM_END_BYTES))
    except OSError:  # merged meanwhile, forbidden, no open file left: who reads it says so
        return bool(filesystem.get_file_info(path).type != pyarrow.fs.FileType.Directory)
    length = int.from_bytes(end[:4], "little")
    return end[4:] == _MAGIC and length + len(_MAGIC) + _NUM_END_BYTES <= size
