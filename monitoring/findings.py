"""The result of the rules: severity, findings, assessment of a window. Data only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum


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


def in_words(name: str) -> str:
    """A column's name for people: ``stroke_width_px`` is "stroke width"."""
    if name == "num_dropped":
        return "dropped pieces of ink"
    return re.sub(r"_(px|deg|ms)$", "", name).replace("_", " ")
