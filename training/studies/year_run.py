"""A simulated year: each month is judged first, then its labels retrain the reader.

Pure but for torch. What is judged, who keys and which arm retrains is in the modules beside this.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from capture.site_states import SiteState, learn, released
from contract import costs
from model.classifier import Scores
from model.decision import BLANK, decide
from model.errors import BlankCrop
from model.framed import Framed
from model.preprocess import frame
from serving.messages import Reading
from serving.reading import site_signals
from serving.reading.site_judge import SiteJudge
from training.evaluation.office_policy import Scored
from training.studies import year_arms, year_keying
from training.studies.year_arms import Arm, Bench, Labels
from training.studies.year_mail import YearMail

logger = logging.getLogger(__name__)

NEVER, UNCHECKED, CHECKED = "never retrained", "no gate, no validation", "Digitline"
ARMS = (NEVER, UNCHECKED, CHECKED)
POISON_MONTH, NO_LABELS_MONTH = 6, 7
BREAKER_BATCH = 20  # reads between two looks of the site breaker
MIN_LABELS = 20  # a month with fewer retrains nothing
# Which of an arm's labels validation keeps, and what it says: (labels, images, sites, probs, month)
Validate = Callable[
    [Labels, NDArray[np.uint8], NDArray[np.str_], NDArray[np.float64]],
    tuple[NDArray[np.bool_], str],
]


@dataclass(frozen=True, slots=True)
class MonthResult:
    """One arm in one month."""

    arm: str
    month: int
    num: int
    num_right: int  # read right, accepted or not
    num_accepted: int
    num_wrong: int  # of the accepted
    num_keys: int
    note: str = ""

    @property
    def euros(self) -> float:
        """Keys and letters astray."""
        price = costs.DEFAULT
        return self.num_keys * price.reject_eur + self.num_wrong * price.wrong_read_eur


@dataclass(slots=True)
class Year:
    """Everything that happened, and the arms as they are at its end."""

    results: list[MonthResult] = field(default_factory=list)
    arms: dict[str, Arm] = field(default_factory=dict)


def run(
    mail: YearMail,
    bench: Bench,
    validate: Validate,
    *,
    audit_frac: float,
    seed: int,
    arms: tuple[str, ...] = ARMS,
) -> Year:
    """Go through the months with each arm.

    Args:
        mail: of the year.
        bench: the champion that it begins with, and what it is fitted and measured with.
        validate: of labels before they train; the arm without checks does not use it.
        audit_frac: share of the accepted reads that people are shown.
        seed: of the people.
        arms: which of ARMS.
    """
    framed = [_frame_or_none(crop) for crop in mail.mail.crops]
    images = _to_uint8(framed)
    year = Year()
    for name in arms:
        arm = Arm(bench.network, bench.policy)
        breaker = Breaker(mail, framed)
        rng = np.random.default_rng([seed, 5])
        for month in range(1, int(mail.months.max()) + 1):
            rows = np.flatnonzero(mail.months == month)
            result, keyed = _live(name, arm, breaker, mail, images, rows, audit_frac, rng)
            arm.labels += Labels.of(keyed)
            note = ""
            if name != NEVER and len(keyed.rows) >= MIN_LABELS:
                note = _retrain(name, arm, bench, validate, images, mail.sites, month, rows)
            elif name != NEVER:
                note = f"no retraining: {len(keyed.rows)} new labels"
            year.results.append(replace(result, note=note))
            logger.info("%s", describe(year.results[-1]))
        year.arms[name] = arm
    return year


def _to_uint8(framed: list[Framed | None]) -> NDArray[np.uint8]:
    blank = np.zeros((1, 28, 28), np.float32)
    images = np.stack([blank if one is None else one.image for one in framed])[:, 0]
    return np.rint(images * 255).astype(np.uint8)


def _frame_or_none(crop: NDArray[np.uint8]) -> Framed | None:
    try:
        return frame(crop)
    except BlankCrop:
        return None


def _live(
    name: str,
    arm: Arm,
    breaker: Breaker,
    mail: YearMail,
    images: NDArray[np.uint8],
    rows: NDArray[np.intp],
    audit_frac: float,
    rng: np.random.Generator,
) -> tuple[MonthResult, year_keying.Keyed]:
    """Read a month's mail, judge the answers, and let people key rejects and audits."""
    truth = mail.mail.labels[rows]
    scored, accepted = arm.read(images[rows])
    held = breaker.holds(arm, scored, rows)
    accepted &= ~held
    answers = scored.logits.argmax(axis=1)
    month = int(mail.months[rows[0]])
    is_audit = accepted & (rng.random(len(rows)) < audit_frac)
    wanted = ~accepted | is_audit
    weights = np.where(accepted, 1 / audit_frac if audit_frac else 0.0, 1.0)
    keyed = year_keying.key(
        rows[wanted],
        truth[wanted],
        answers[wanted],
        weights[wanted],
        rng,
        second_opinion=name == CHECKED,
    )
    num_keys = keyed.num_keys if name != NEVER else int((~accepted).sum())
    # The crops of a faulty scanner are keyed for delivery, and teach nothing about digits.
    keyed = keyed.without(rows[held])
    if month == NO_LABELS_MONTH:
        num_keys = int((~accepted).sum())
        keyed = year_keying.nothing()
    if month == POISON_MONTH and name != NEVER:
        keyed = year_keying.joined(keyed, year_keying.poisoned_batch(rows, truth, rng))
    result = MonthResult(
        name,
        month,
        num=len(rows),
        num_right=int((answers == truth).sum()),
        num_accepted=int(accepted.sum()),
        num_wrong=int((accepted & (answers != truth)).sum()),
        num_keys=num_keys,
    )
    return result, keyed


def _retrain(
    name: str,
    arm: Arm,
    bench: Bench,
    validate: Validate,
    images: NDArray[np.uint8],
    sites: NDArray[np.str_],
    month: int,
    rows: NDArray[np.intp],
) -> str:
    if name == UNCHECKED:
        return year_arms.retrain_unchecked(arm, bench, images, sites, month)
    labels = arm.labels
    read = year_arms.score(arm.network, images[labels.rows], labels.labels)
    kept, said = validate(
        labels, images[labels.rows], sites[labels.rows], year_arms.probabilities(read, arm.policy)
    )
    outcome = year_arms.retrain_checked(arm, bench, images, sites, month, kept, rows)
    return f"{said}; {outcome}" if said else outcome


class Breaker:
    """The service's own judge of each site, over the year's reads of one arm."""

    def __init__(self, mail: YearMail, framed: list[Framed | None]) -> None:
        self._mail, self._framed = mail, framed
        self._judges: dict[str, SiteJudge] = {}

    def holds(self, arm: Arm, scored: Scored, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which reads come while their site is on hold; people clean the scanner by next month."""
        held = np.zeros(len(rows), np.bool_)
        sites = self._mail.sites[rows]
        expected = 1 - float(scored.accepted(arm.policy).mean())
        for site in sorted(set(sites.tolist())):
            judge = self._judges.setdefault(site, _new_judge(site, expected))
            places = np.flatnonzero(sites == site)
            signals = self._signals(arm, scored, rows, places)
            for start in range(0, len(places), BREAKER_BATCH):
                batch = slice(start, start + BREAKER_BATCH)
                held[places[batch]] = judge.state.status == "hold"
                incident = judge.add(signals[batch], int(rows[places[start]]))
                judge.adopt(learn(judge.state, judge.take_learned(incident)))
            if judge.state.incident is not None and judge.state.status != "ok":
                judge.adopt(_cleaned(judge.state))
        return held

    def _signals(
        self, arm: Arm, scored: Scored, rows: NDArray[np.intp], places: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        scores = Scores(scored.logits[places], scored.garbage[places])
        notes = array("d")
        for place, decision, garbage in zip(
            places, decide(scores, arm.policy), scores.garbage.tolist(), strict=True
        ):
            framed = self._framed[rows[place]]
            crop = self._mail.mail.crops[rows[place]]
            decided = BLANK if framed is None else decision
            sort = -np.inf if framed is None else garbage
            reading = Reading(crop, framed, None, decided, sort, 0, 0, 0, 0)
            site_signals.note(notes, reading, look=True)
        return site_signals.to_signals(notes, arm.policy)


def _new_judge(site: str, expected_reject_share: float) -> SiteJudge:
    return SiteJudge(
        SiteState(site),
        model_version="year",
        expected_reject_share=expected_reject_share,
        may_hold=True,
    )


def _cleaned(state: SiteState) -> SiteState:
    assert state.incident is not None
    return replace(state, incident=released(state.incident, "a person", state.incident.changed_us))


def describe(result: MonthResult) -> str:
    """One line."""
    return (
        f"{result.arm}, month {result.month}: {result.num_right / result.num:.2%} read right, "
        f"{result.num_accepted / result.num:.1%} accepted, {result.num_wrong} of "
        f"{result.num_accepted} wrong, {result.num_keys} keys; {result.note}"
    )
