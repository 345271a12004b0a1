"""When a second person is asked about a crop: what each person's own agreement rate says.

A label is checked where its person's chance to be wrong, times the cost of a wrong label, is above
the cost of a second key; and of everybody one label in fifty, so that the rate stays known.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from console.tables import VoteRow
from contract import costs

# Of somebody of whom nothing is known: one label in 20 is wrong. Each check counts as one more.
PRIOR_WRONG: Final = 1
PRIOR_RIGHT: Final = 19
# A wrong label trains the model to send letters astray, but is one of many: assumption, it costs
# as much as one letter in its place.
PAYS_ABOVE: Final = costs.DEFAULT.reject_eur / costs.DEFAULT.wrong_read_eur
_ALWAYS_FRAC: Final = 0.02
# Labels of one person that wait for a second one. A person who keys alone makes no more of them:
# every other console's search of the queue passes over each.
_MAX_CHECKING: Final = 20
_HASH_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of a person's labels others have keyed too, and how many of them agreed."""

    num_checked: int
    num_agreed: int

    @property
    def wrong_frac(self) -> float:
        """Mean of the Beta posterior of the share of wrong labels."""
        num_wrong = self.num_checked - self.num_agreed
        return (PRIOR_WRONG + num_wrong) / (PRIOR_WRONG + PRIOR_RIGHT + self.num_checked)


NOTHING_KNOWN: Final = Agreement(0, 0)


def agreement_of(database: Session, who: str) -> Agreement:
    """A person's agreement so far."""
    return _agreements(database, {who}).get(who, NOTHING_KNOWN)


def _agreements(database: Session, persons: Collection[str]) -> dict[str, Agreement]:
    """Of each person of whom something is known."""
    counts: dict[str, dict[bool, int]] = defaultdict(dict)
    for who, is_agreed, num in database.execute(
        select(VoteRow.who, VoteRow.is_agreed, func.count())
        .where(
            VoteRow.who.in_(persons),
            VoteRow.is_checking.is_(False),  # true of every judged vote; the index begins with it
            VoteRow.is_agreed.is_not(None),
        )
        .group_by(VoteRow.who, VoteRow.is_agreed)
    ):
        counts[who][bool(is_agreed)] = num
    return {who: Agreement(sum(some.values()), some.get(True, 0)) for who, some in counts.items()}


class SecondOpinions:
    """Decides for the labels of one transaction which are checked by a second person.

    Args:
        database: the transaction.
        persons: who gave the labels.
    """

    def __init__(self, database: Session, persons: Collection[str]) -> None:
        self._agreements = _agreements(database, persons)
        checking = (
            select(VoteRow.who, func.count())
            .where(VoteRow.who.in_(persons), VoteRow.is_checking.is_(True))
            .group_by(VoteRow.who)
        )
        self._num_checking = Counter(
            {who: num for who, num in database.execute(checking)}  # noqa: C416  # typed rows
        )

    def needs_second(self, who: str, read_id: str, crop_index: int) -> bool:
        """Whether a second person is asked about a crop that this person has labelled."""
        agreement = self._agreements.get(who, NOTHING_KNOWN)
        is_drawn = _share(read_id, crop_index) < _ALWAYS_FRAC
        if not is_drawn and agreement.wrong_frac <= PAYS_ABOVE:
            return False
        if self._num_checking[who] >= _MAX_CHECKING:
            return False
        self._num_checking[who] += 1
        return True


def _share(read_id: str, crop_index: int) -> float:
    """Hash a crop's key to [0, 1)."""
    digest = hashlib.blake2b(
        f"{read_id}/{crop_index}".encode(), digest_size=_HASH_BYTES, person=b"second opinion"
    ).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
