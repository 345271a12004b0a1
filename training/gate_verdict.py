"""A gate's verdict: every comparison, whether it passed, and what holds for no limit.

Pure. Knows nothing about which comparisons there are.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One comparison."""

    name: str
    value: float | None  # None: what should have been compared is missing
    limit: float | None
    passed: bool
    remedy: str = ""  # what to do about a missing value

    def __str__(self) -> str:
        word = "ok  " if self.passed else "FAIL"
        if self.value is None:
            return f"{word} {self.name}: missing; {self.remedy}"
        return f"{word} {self.name}: {self.value:.6g} (limit {self.limit:.6g})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate may be promoted, and why."""

    reasons: tuple[Reason, ...]
    notes: tuple[str, ...] = ()  # numbers that no limit judges

    @property
    def passed(self) -> bool:
        """True when every reason is met."""
        return all(reason.passed for reason in self.reasons)

    @property
    def failures(self) -> tuple[Reason, ...]:
        """The reasons that are not met."""
        return tuple(reason for reason in self.reasons if not reason.passed)


def at_least(name: str, value: float, limit: float) -> Reason:
    """A floor."""
    return Reason(name, value, limit, value >= limit)


def at_most(name: str, value: float, limit: float) -> Reason:
    """A ceiling."""
    return Reason(name, value, limit, value <= limit)


def missing(name: str, remedy: str) -> Reason:
    """What must be there and is not."""
    return Reason(name, None, None, passed=False, remedy=remedy)
