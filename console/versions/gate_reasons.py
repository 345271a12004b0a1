"""A gate's verdict as a page shows it: failed limits first, each with its direction. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ShownReason:
    """One comparison."""

    name: str
    value: str
    limit: str
    passed: bool
    remedy: str


@dataclass(frozen=True, slots=True)
class ShownVerdict:
    """The gate's answer about one candidate."""

    passed: bool
    failed: tuple[ShownReason, ...]
    met: tuple[ShownReason, ...]
    notes: tuple[str, ...]
    stale: str  # why it counts no longer; empty: it counts


def of_file(
    saved: Mapping[str, Any], *, candidate_sha256: str, champion_sha256: str | None
) -> ShownVerdict:
    """Read what `gate` wrote.

    Args:
        saved: verdict.json.
        candidate_sha256: of the candidate's model file now.
        champion_sha256: of the served model now; None: there is none.
    """
    reasons = [_reason(row) for row in saved["reasons"]]
    holds: Mapping[str, Any] = saved.get("holds_for", {})
    stale = ""
    if holds.get("candidate_sha256") != candidate_sha256:
        stale = "It is about an earlier candidate of this folder"
    elif holds.get("champion_sha256") != champion_sha256:
        stale = "It compares with an earlier champion"
    return ShownVerdict(
        passed=all(one.passed for one in reasons),
        failed=tuple(one for one in reasons if not one.passed),
        met=tuple(one for one in reasons if one.passed),
        notes=tuple(saved.get("notes", ())),
        stale=stale,
    )


def _reason(row: Mapping[str, Any]) -> ShownReason:
    value, limit = row["value"], row["limit"]
    if value is None or limit is None:
        return ShownReason(row["name"], "missing", "", bool(row["passed"]), row.get("remedy", ""))
    return ShownReason(
        name=row["name"],
        value=_number(value),
        limit=f"{_direction(value, limit, passed=row['passed'])}{_number(limit)}",
        passed=bool(row["passed"]),
        remedy=row.get("remedy", ""),
    )


def _direction(value: float, limit: float, *, passed: bool) -> str:
    """The file does not say whether a limit is a floor; the result does, unless both are equal."""
    if value == limit:
        return ""
    return "at least " if (value > limit) == passed else "at most "


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
