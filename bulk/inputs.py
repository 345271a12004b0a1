"""What a job reads: inputs, cut into shards that one worker reads each.

A source lists the same shards in the same order as long as it does not change, so the number of a
shard names the same inputs in every run. Knows nothing about files and models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from numpy.typing import NDArray

# A file, (H, W) uint8 pixels, a (1, 28, 28) float32 image, or why there is none of these.
Crop = bytes | NDArray[Any] | Exception

AT_ONCE: Final = 256  # crops of one call of the model
CHUNK_BYTES: Final = 16 * 1024 * 1024  # of files that are in memory together
SKIPS_LISTED: Final = 10_000


class SourceError(ValueError):
    """The source cannot be read, or is not one. Its message says what to do."""


class Inputs(NamedTuple):
    """At most AT_ONCE inputs, in the source's order."""

    names: Sequence[str]
    crops: Sequence[Crop]
    num_left_out: int = 0  # further copies of inputs, and what was erased


class Content(Protocol):
    """A shard's inputs, to be read by a worker: small, and can be pickled."""

    def chunks(self) -> Iterator[Inputs]:
        """Read the inputs, in order. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Inputs that become one part of the output."""

    index: int
    num_inputs: int
    num_bytes: int  # of the inputs as stored; an estimate where the source cannot tell
    fingerprint: str  # changes when an input does
    content: Content | None  # None: not wanted


Skip = Callable[[str, str], None]  # a name, and why it is no input
IsWanted = Callable[[int], bool]  # whether a shard will be read


class Source(Protocol):
    """Where inputs are stored."""

    @property
    def kind(self) -> str:
        """What it is: folder, parquet, tar, zip or archive."""

    @property
    def lists_once(self) -> bool:
        """Whether the survey's shards are the ones that are read; else they are listed anew."""

    def shards(self, is_wanted: IsWanted, skip: Skip) -> Iterator[Shard]:
        """List the shards, in order. Raises OSError, SourceError."""


class Skipped:
    """Counts what is no input, and keeps the first 10,000 names."""

    def __init__(self) -> None:
        self.number = 0
        self.listed: list[tuple[str, str]] = []

    def __call__(self, name: str, why: str) -> None:
        """Count one."""
        self.number += 1
        if len(self.listed) < SKIPS_LISTED:
            self.listed.append((name, why))


@dataclass(frozen=True, slots=True)
class Survey:
    """What a source holds."""

    num_inputs: int
    num_shards: int
    num_bytes: int
    fingerprint: str
    skipped: Skipped


class Tally:
    """Sums up shards as they pass."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._sums = [0, 0, 0]

    def add(self, shard: Shard) -> None:
        """Count a shard."""
        self._hash.update(f"{shard.index} {shard.num_inputs} {shard.fingerprint}\n".encode())
        for place, number in enumerate((shard.num_inputs, 1, shard.num_bytes)):
            self._sums[place] += number

    def survey(self, skipped: Skipped) -> Survey:
        """The sums so far."""
        inputs, shards, size = self._sums
        return Survey(inputs, shards, size, self._hash.hexdigest(), skipped)


def survey(source: Source, keep: Callable[[Shard], None] | None = None) -> Survey:
    """List a source without reading its crops; `keep` gets each shard, wanted.

    Raises:
        OSError, SourceError: it cannot be listed.
    """
    tally, skipped = Tally(), Skipped()
    for shard in source.shards(lambda _: keep is not None, skipped):
        tally.add(shard)
        if keep is not None:
            keep(shard)
    return tally.survey(skipped)
