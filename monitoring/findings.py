"""The result of the rules: severity, findings, assessment of a window. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

OF_LABELS: Final = ("labels", "confidence")  # rules


class Severity(IntEnum):
    """How urgent a finding is. The values are those of the metric DriftSeverity."""

    CALM = 0
    WATCH = 1
    ACT = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that fired."""

    rule: str  # distance | class_mix | polarity | blanks | rejects | labels | missing | ...
    subject: str  # the feature or number
    value: float
    limit: float
    severity: Severity
    text: str
    site: str | None = None


@dataclass(frozen=True, slots=True)
class SiteSummary:
    """One site compared with the others."""

    site: str
    num_records: int
    reject_share: float
    distance: float  # largest normed distance from the other sites, over image features
    feature: str  # the feature it was largest in
    named: bool  # whether a rule fired for it


@dataclass(frozen=True, slots=True)
class Assessment:
    """The verdict on a window."""

    num_records: int
    enough: bool  # False: fewer than MIN_RECORDS; the other fields are empty
    severity: Severity
    findings: tuple[Finding, ...] = ()
    not_judged: tuple[str, ...] = ()  # what has no value in this window, in plain sentences
    distances: dict[str, float] = field(default_factory=dict)
    sites: tuple[SiteSummary, ...] = ()
    blank_share: float = float("nan")
    reject_share: float = float("nan")
    expected_reject_share: float = float("nan")
    p99_ms: float = float("nan")
    num_labels: int = 0
    accuracy: float = float("nan")  # of labelled accepted reads
    mean_confidence: float = float("nan")  # of the same; above the accuracy: overconfident


def rank(
    of_mail: Sequence[Finding], of_sites: Sequence[Finding], *, remaining: Collection[Finding]
) -> tuple[Finding, ...]:
    """Order findings so that the first one tells people where to go.

    A finding about all mail that does not remain without the named sites is their doing: it says
    so and comes last. Otherwise by severity, and a site before all mail.

    Args:
        of_mail: about all sites together.
        of_sites: about one site each.
        remaining: those of `of_mail` that the rest of the mail gives, too. Labels always remain.
    """
    still = {(one.rule, one.subject) for one in remaining}
    explained = {
        id(one)
        for one in of_mail
        if of_sites and one.rule not in OF_LABELS and (one.rule, one.subject) not in still
    }
    names = ", ".join(dict.fromkeys(str(one.site) for one in of_sites))
    ordered = sorted(
        [*of_sites, *of_mail],
        key=lambda one: (id(one) in explained, -one.severity, one.site is None),
    )
    return tuple(
        replace(one, text=f"{one.text}; not without {names}") if id(one) in explained else one
        for one in ordered
    )


def in_words(name: str) -> str:
    """A column's name for people: ``stroke_width_px`` is "stroke width"."""
    if name == "num_dropped":
        return "dropped pieces of ink"
    return re.sub(r"_(px|deg|ms)$", "", name).replace("_", " ")
