"""What each finding of a site costs a day, so that the costliest comes first. Pure.

A rejected read costs a person's time, an accepted read that is wrong costs a letter gone astray
(`contract.costs`). What a site has always rejected is no part of a finding's cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from contract import costs
from monitoring.audits import AuditEstimate
from monitoring.site_rules import SITE_REJECT_EXCESS

_TO_DO: Final[Mapping[str, str]] = {
    "blanks": "The scanner sends paper without ink: call the site, its lamp or camera is off.",
    "reject share": "Look at its crops. If they are dirty, call the site and hold it until "
    "they are clean.",
    "wrong": "Hold the site, or serve it with a higher threshold, until the cause is found.",
    "height_px": "Ask the site whether its scanner or its crop settings were changed.",
    "margin": "Ask the site whether its scanner or its crop settings were changed.",
}
_LOOK: Final = "Compare its crops with the reference: is a scanner, pen or source new?"


@dataclass(frozen=True, slots=True)
class Costed:
    """One finding, with what it costs."""

    text: str
    state: str  # calm, watch, act
    euros_a_day: float | None  # None: it shows in no reject and no audit
    because: str  # how the cost comes about
    to_do: str
    rank: float = 0.0  # of those without a cost: how far beyond the limit


def cost_findings(
    findings: Sequence[Mapping[str, Any]],
    *,
    num_reads: int,
    reject_share: float | None,
    usual_reject_share: float | None,
    estimate: AuditEstimate | None,
) -> list[Costed]:
    """The findings of one site and day, costliest first; without a cost, farthest beyond its limit.

    Args:
        findings: of report.json, of this site.
        num_reads: that the site sent on the day.
        reject_share: of these.
        usual_reject_share: of the site's own earlier days; None: there are none.
        estimate: wrong among accepted, by the audit.
    """
    costed = [
        _cost(one, num_reads=num_reads, usual_reject_share=usual_reject_share) for one in findings
    ]
    if estimate is not None and estimate.num_judged and estimate.low > costs.PROMISED_ERROR_FRAC:
        costed.append(_of_wrong(estimate, num_reads * (1 - (reject_share or 0.0))))
    return sorted(
        costed, key=lambda one: (one.euros_a_day is None, -(one.euros_a_day or 0.0), -one.rank)
    )


def _cost(
    finding: Mapping[str, Any], *, num_reads: int, usual_reject_share: float | None
) -> Costed:
    rule, subject = str(finding["rule"]), str(finding["subject"])
    value, limit = float(finding["value"]), float(finding["limit"])
    text = str(finding["text"])
    state = ("calm", "watch", "act")[int(finding["severity"])]
    text = f"{text[0].upper()}{text[1:]}"
    if rule == "blanks" or subject == "reject share":
        usual = limit - SITE_REJECT_EXCESS if usual_reject_share is None else usual_reject_share
        more = max(0.0, value if rule == "blanks" else value - usual)
        num_more = more * num_reads
        because = f"{num_more:,.0f} more reads to key"
        to_do = _TO_DO["blanks" if rule == "blanks" else subject]
        return Costed(text, state, num_more * costs.DEFAULT.reject_eur, because, to_do)
    return Costed(
        text, state, None, "not known from rejects or audits", _TO_DO.get(subject, _LOOK),
        rank=value / limit if limit else 0.0,
    )  # fmt: skip


def _of_wrong(estimate: AuditEstimate, num_accepted: float) -> Costed:
    more = (estimate.error - costs.PROMISED_ERROR_FRAC) * num_accepted
    text = (
        f"{estimate.error:.2%} of the accepted reads are wrong ({estimate.low:.2%} to "
        f"{estimate.high:.2%}); {costs.PROMISED_ERROR_FRAC:.2%} is promised"
    )
    because = f"{more:,.1f} more letters go astray"
    return Costed(text, "act", more * costs.DEFAULT.wrong_read_eur, because, _TO_DO["wrong"])
