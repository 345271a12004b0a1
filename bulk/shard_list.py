"""Edge: a survey's shards, kept until they are read; over 16 MB in a temporary file."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from typing import Final

from bulk.inputs import Shard

_IN_MEMORY_BYTES: Final = 16 * 1024 * 1024


class ShardList:
    """Shards in the order in which they were added."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - has close
        self._number = 0

    def add(self, shard: Shard) -> None:
        """Append one. Raises OSError."""
        pickle.dump(shard, self._file, pickle.HIGHEST_PROTOCOL)
        self._number += 1

    def __iter__(self) -> Iterator[Shard]:
        """Each shard once. Raises OSError."""
        self._file.seek(0)
        for _ in range(self._number):
            yield pickle.load(self._file)  # noqa: S301 - our own

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
