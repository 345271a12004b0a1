"""What three keyers of the demo said of rejects and audits, each with some errors. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from capture.label_event import AUDIT, DIGITS, LabelEvent
from monitoring.studies.demo_reads import Answered

# Share of a keyer's labels that is wrong.
ERROR_FRAC: Final = MappingProxyType({"anna": 0.002, "bela": 0.006, "chris": 0.03})
SECOND_OPINION_FRAC: Final = 0.06  # of labelled crops that another keyer gets, too
HELD_FRAC: Final = 0.4  # of the crops of a site on hold that were keyed at all
_KEYED_AFTER_US: Final = 900_000_000  # a quarter of an hour
_SECOND_AFTER_US: Final = 3_600_000_000


def key_month(answered: Sequence[Answered], *, held_site: str, seed: int) -> list[LabelEvent]:
    """Label the rejected and the marked crops of every day but today.

    Args:
        answered: the crops of the month.
        held_site: of its last days a part is left unkeyed, as there were too many.
        seed: same seed, same labels.
    """
    rng = np.random.default_rng(seed)
    events = []
    for one in answered:
        is_asked = one.is_marked or not one.accepted
        if not is_asked or one.back == 0:
            continue
        if one.site == held_site and one.back <= 3 and rng.random() > HELD_FRAC:
            continue
        first, second = rng.permutation(list(ERROR_FRAC))[:2].tolist()
        events.append(_said(first, one, one.time_us + _KEYED_AFTER_US, rng))
        if rng.random() < SECOND_OPINION_FRAC:
            events.append(_said(second, one, one.time_us + _SECOND_AFTER_US, rng))
    return [*events, *_one_dispute(events)]


def _said(who: str, one: Answered, when_us: int, rng: np.random.Generator) -> LabelEvent:
    label = one.truth
    if rng.random() < ERROR_FRAC[who]:
        label = str(rng.choice([digit for digit in DIGITS if digit != one.truth]))
    how = AUDIT if one.accepted else "keyed"
    return LabelEvent(one.read_id, one.index, label, who, when_us, how, one.site)


def _one_dispute(events: Sequence[LabelEvent]) -> list[LabelEvent]:
    """Another keyer's different label of the last crop, so that one dispute is open."""
    if not events:
        return []
    last = events[-1]
    who = next(name for name in ERROR_FRAC if name != last.who)
    label = "7" if last.label != "7" else "1"
    when_us = last.when_us + _SECOND_AFTER_US
    return [LabelEvent(last.read_id, last.crop_index, label, who, when_us, last.how, last.source)]
