"""Which site, person or added set has labels that contradict the champion and the others. Pure.

Two faults are looked for, in a source's rows in their order, so that one bad batch is found in good
years: two digits are exchanged (a person swaps 4 and 9), or labels do not belong to their crops (a
file's lines are shifted). Each row adds the logarithm of how much likelier its label is under the
fault than from an honest person, by the champion's probabilities. These are first fitted to the
labels of all other sources, so that a champion that is too sure of new mail accuses nobody.

For an honest source the sum exceeds log(1 / p) anywhere after a given row with probability p at
most; so the limit follows from the number of sources, faults and rows.

Source:
    Ville, Etude critique de la notion de collectif (1939); Ramdas et al., Statistical Science 38
    (2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture.snapshot_files import CAPTURES
from training.snapshots.reading import MailCrops, Strings

TOGETHER: Final = " + "  # between the names of people who gave a crop the same label
FALSE_ALARM: Final = 0.02  # that an honest snapshot quarantines any source, at most
_SLIP: Final = 0.05  # chance of a label that the champion's probabilities do not explain
_TEMPERATURES: Final = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
_MIN_TO_FIT: Final = 50  # rows of others
_BOTH_WAYS: Final = 2.0  # a swap is in evidence for each of its two digits
_MIN_ROWS: Final = 5
_UNRELATED: Final = 0.5  # share of labels that have nothing to do with their crops, if any do
_PAIRS: Final = tuple(combinations(range(10), 2))


@dataclass(frozen=True, slots=True)
class Source:
    """A site, a person or an added set, and its rows."""

    kind: str  # "person", "added set" or "site"
    name: str
    rows: NDArray[np.intp]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Rows of a source that are not trained on, and why."""

    source: Source  # with these rows only
    num_of_source: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


def sources_of(mail: MailCrops) -> list[Source]:
    """Persons, added sets, then sites: a site is judged without what is quarantined by then."""
    people = [
        Source("person", name, np.flatnonzero(_says(mail.whos, name)))
        for name in sorted({name for who in mail.whos for name in who.split(TOGETHER) if name})
    ]
    added = sorted(set(mail.sources) - {CAPTURES})
    sets = [Source("added set", str(name), np.flatnonzero(mail.sources == name)) for name in added]
    captured = mail.sources == CAPTURES
    sites = [
        Source("site", str(name), np.flatnonzero(captured & (mail.sites == name)))
        for name in sorted(set(mail.sites[captured]))
    ]
    return people + sets + sites


def _says(whos: Strings, name: str) -> NDArray[np.bool_]:
    return np.array([name in who.split(TOGETHER) for who in whos], bool)


def judge_sources(
    mail: MailCrops, probs: NDArray[np.float64], keep: NDArray[np.bool_]
) -> list[Quarantined]:
    """Find the sources whose labels are not those of an honest person.

    Args:
        mail: rows in the order in which they came.
        probs: (N, 10), what the champion makes of them.
        keep: (N,) rows that count.
    """
    left = keep.copy()
    sources = sources_of(mail)
    found = []
    for source in sources:
        rows = source.rows[left[source.rows]]
        others = left.copy()
        others[source.rows] = False
        honest = _fit(probs, mail.labels, np.flatnonzero(others))
        limit = np.log(len(sources) * (len(_PAIRS) + 1) / FALSE_ALARM)
        for reason, bad in _faults(mail.labels[rows], honest[rows], float(limit)):
            chosen = rows[bad]
            found.append(
                Quarantined(Source(source.kind, source.name, chosen), len(source.rows), reason)
            )
            left[chosen] = False
    return found


def _fit(
    probs: NDArray[np.float64], labels: NDArray[np.uint8], others: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Probabilities of an honest label, by the temperature that fits the other sources best."""
    log_probs = np.log(np.maximum(probs, 1e-12))
    if len(others) < _MIN_TO_FIT:
        return _honest(log_probs, 1.0)

    def surprise(temperature: float) -> float:
        fitted = _honest(log_probs[others], temperature)
        return float(-np.log(fitted[np.arange(len(others)), labels[others]]).mean())

    return _honest(log_probs, min(_TEMPERATURES, key=surprise))


def _honest(log_probs: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    scaled = np.exp(log_probs / temperature)
    scaled /= scaled.sum(axis=1, keepdims=True)
    fitted: NDArray[np.float64] = (1 - _SLIP) * scaled + _SLIP / scaled.shape[1]
    return fitted


def _faults(
    labels: NDArray[np.uint8], honest: NDArray[np.float64], limit: float
) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """The faults that are in evidence, with their rows among these; the strongest first."""
    if len(labels) < _MIN_ROWS:
        return
    of_label = honest[np.arange(len(labels)), labels]
    unrelated = np.log(((1 - _UNRELATED) * of_label + _UNRELATED / 10) / of_label)
    total, first, last = _strongest_run(unrelated)
    if total > limit + np.log(len(labels)):
        disagree = (honest[first : last + 1].argmax(axis=1) != labels[first : last + 1]).sum()
        reason = (
            f"labels do not belong to their crops: the champion reads another digit in {disagree} "
            f"of {last + 1 - first} crops"
        )
        yield reason, np.arange(first, last + 1)
        return
    swaps = [_swap(labels, honest, of_label, pair, limit) for pair in _PAIRS]
    strongest = max((one for one in swaps if one is not None), default=None, key=lambda one: one[0])
    if strongest is not None:
        yield strongest[1], strongest[2]


def _swap(
    labels: NDArray[np.uint8],
    honest: NDArray[np.float64],
    of_label: NDArray[np.float64],
    pair: tuple[int, int],
    limit: float,
) -> tuple[float, str, NDArray[np.intp]] | None:
    """The evidence that two digits are exchanged in a run of rows; None where it is too weak."""
    places = np.flatnonzero(np.isin(labels, pair))
    if len(places) < _MIN_ROWS:
        return None
    other = np.where(labels[places] == pair[0], pair[1], pair[0])
    ratio = np.log(honest[places, other] / of_label[places])
    total, first, last = _strongest_run(ratio)
    run = slice(first, last + 1)
    is_first = labels[places][run] == pair[0]
    both_ways = min(ratio[run][is_first].sum(), ratio[run][~is_first].sum())
    if total <= limit + np.log(len(places)) or both_ways < _BOTH_WAYS:
        return None
    # The batch may begin and end anywhere between the last row that is surely right and the next.
    sure = np.flatnonzero(ratio < -1)
    before, after = sure[sure < first], sure[sure > last]
    start = places[before[-1]] + 1 if len(before) else 0
    stop = places[after[0]] if len(after) else len(labels)
    num = int((ratio[run] > 0).sum())
    reason = (
        f"{pair[0]} and {pair[1]} are exchanged: the champion reads the other digit in {num} of "
        f"{last + 1 - first} crops with these labels"
    )
    return total, reason, np.arange(start, stop)


def _strongest_run(values: NDArray[np.float64]) -> tuple[float, int, int]:
    """The run of neighbours with the largest sum (Kadane): sum, first and last place."""
    before = np.concatenate([[0.0], np.cumsum(values)])
    lowest = np.minimum.accumulate(before[:-1])
    last = int((before[1:] - lowest).argmax())
    first = int(before[: last + 1].argmin())
    return float(before[last + 1] - before[first]), first, last
