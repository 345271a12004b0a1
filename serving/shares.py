"""Limits how much of a shared pool one sender may hold. Knows nothing about what the pool holds."""

from collections.abc import Hashable


def is_within_share(limit: float, total: float, held: float, amount: float) -> bool:
    """Whether a sender may hold more: at most as much as it then leaves free.

    So a sender that is alone gets half of the pool, several busy senders get nearly equal parts,
    and there is room for one more.

    Args:
        limit: of the pool.
        total: what all senders hold.
        held: what this sender holds.
        amount: what it asks for.

    Source:
        Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches",
        IEEE/ACM Transactions on Networking, 1998, with their factor at 1.
    """
    return held + amount <= limit - total - amount


class SharedPool:
    """A bounded pool of connections, requests, bytes or crops; each sender has its share.

    Args:
        limit: what all senders together may hold.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._held: dict[Hashable, float] = {}
        self._total = 0.0

    def __len__(self) -> int:
        """Senders that hold something."""
        return len(self._held)

    @property
    def total(self) -> float:
        """What all senders hold."""
        return self._total

    def held_by(self, sender: Hashable) -> float:
        """What one sender holds."""
        return self._held.get(sender, 0.0)

    def has_room(self, sender: Hashable, amount: float) -> bool:
        """Whether `take` would succeed."""
        return is_within_share(self._limit, self._total, self.held_by(sender), amount)

    def take(self, sender: Hashable, amount: float) -> bool:
        """Let a sender hold more; False, and nothing changes, where its part is used up."""
        held = self._held.get(sender, 0.0)
        if not is_within_share(self._limit, self._total, held, amount):
            return False
        self._held[sender] = held + amount
        self._total += amount
        return True

    def give_back(self, sender: Hashable, amount: float) -> None:
        """Release what `take` gave."""
        left = self._held.get(sender, 0.0) - amount
        self._total -= amount
        if left > 0.0:
            self._held[sender] = left
        else:
            self._held.pop(sender, None)
