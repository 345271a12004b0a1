"""What the service says, once it can be reached again, of the reads that were made without it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A local read whose digit, or whose acceptance, the service sees differently."""

    request_id: str
    read_id: str  # of the service, for labels
    local_digit: int | None
    local_accepted: bool
    service_digit: int | None
    service_accepted: bool
    local_version: str  # of the model
    service_version: str


@dataclass(frozen=True, slots=True)
class SpoolTotals:
    """What became of the reads since the file was made."""

    num_bytes: int  # now
    waiting: int  # now
    spooled: int
    answered: int  # by the service, afterwards
    refused: int  # by the service, afterwards: the crop or the request is bad
    dropped_by_size: int  # before the service saw them
    dropped_by_age: int  # the same


@dataclass(frozen=True, slots=True)
class Away:
    """A report about the reads that the service has seen since the last `dismiss`."""

    num_answered: int
    disagreements: tuple[Disagreement, ...]
    refusals: Mapping[str, str]  # request id -> why the service refused the read
    perhaps_twice: tuple[str, ...]  # request ids that the service may have recorded twice
    totals: SpoolTotals
    last_place: int  # of the rows in this report
