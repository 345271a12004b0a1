"""What the service says, once it can be reached again, of the reads that were made without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sqlite3 import Row


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


def away_of(rows: Sequence[Row], totals: SpoolTotals) -> Away:
    """The report about rows of the spool, in their order, that do not wait any more."""
    answered = [row for row in rows if row["state"] == "answered"]
    return Away(
        num_answered=len(answered),
        disagreements=tuple(
            Disagreement(
                request_id=row["request_id"],
                read_id=row["read_id"],
                local_digit=row["local_digit"],
                local_accepted=bool(row["local_accepted"]),
                service_digit=row["digit"],
                service_accepted=bool(row["accepted"]),
                local_version=row["local_version"],
                service_version=row["version"],
            )
            for row in answered
            if (row["digit"], row["accepted"]) != (row["local_digit"], row["local_accepted"])
        ),
        refusals={row["request_id"]: row["refusal"] for row in rows if row["state"] == "refused"},
        perhaps_twice=tuple(row["request_id"] for row in rows if row["num_keys"] > 1),
        totals=totals,
        last_place=rows[-1]["place"] if rows else 0,
    )
