"""A person's own figures. They are shown to that person alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from console.keying.quality import agreement_of
from console.tables import VoteRow

_DAY_US: Final = 86_400_000_000
_PAUSE_US: Final = 60_000_000  # a longer gap is a break
_NUM_LATEST: Final = 200  # labels that the speed is of
_MIN_LABELS: Final = 10  # of fewer no speed is told


@dataclass(frozen=True, slots=True)
class OwnFigures:
    """What a person sees of the own work."""

    num_today: int  # labels since midnight UTC
    keys_per_hour: float | None  # of the latest 200 labels of today, without breaks
    num_checked: int
    num_agreed: int


def own_figures(database: Session, who: str, now_us: int) -> OwnFigures:
    """Count a person's labels."""
    today = select(VoteRow.when_us).where(
        VoteRow.who == who, VoteRow.when_us >= now_us - now_us % _DAY_US
    )
    num_today = database.scalar(select(func.count()).select_from(today.subquery())) or 0
    latest = database.scalars(today.order_by(VoteRow.when_us.desc()).limit(_NUM_LATEST)).all()
    gaps = [new - old for new, old in pairwise(latest)]
    worked = [gap for gap in gaps if gap <= _PAUSE_US]
    is_enough = len(worked) >= _MIN_LABELS - 1 and sum(worked) > 0
    speed = 3.6e9 * len(worked) / sum(worked) if is_enough else None
    agreement = agreement_of(database, who)
    return OwnFigures(num_today, speed, agreement.num_checked, agreement.num_agreed)
