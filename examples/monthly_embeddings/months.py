"""All months one after another: `python -m examples.monthly_embeddings.months --why REASON`.

Each version of the emoji list arrives, the month ends, and the schedule looks. At the end each
month's champion is asked for the whole test share, which most of them have not seen: the curve.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture.store import Store
from examples.monthly_embeddings import emoji_months, pairs, projection
from examples.monthly_embeddings.candidate import PROJECTION
from examples.monthly_embeddings.each_month import schedule
from examples.monthly_embeddings.features import Features, Towers, features_of
from examples.monthly_embeddings.judging import Champion, judge, recall
from examples.monthly_embeddings.pairs import Snapshot
from examples.monthly_embeddings.projection import Vector
from examples.monthly_embeddings.refit import Places, add_places, to_places
from examples.monthly_embeddings.towers import load
from monitoring.retrain_schedule import look, read_state
from training import model_store

CACHE: Final = Path(".cache/emoji")


def end_of(month: str) -> datetime:
    """Some hours into the next month."""
    return (datetime.fromisoformat(f"{month}-01") + timedelta(32)).replace(
        day=1, hour=3, tzinfo=UTC
    )


def curve(places: Places, towers: Towers) -> list[str]:
    """A row a champion: its month, pairs, recall when judged, recall on all months' test share."""
    features, is_test, _ = _so_far("9999-12", places, towers)
    lines = [
        f"{is_test.sum()} texts in the test share of all months",
        "| month | pairs so far | test share so far: champion before, new | all months' |",
        "| --- | --- | --- | --- |",
    ]
    for version in model_store.versions(places.models):
        kept = _kept(version, places.models)
        known = model_store.metrics(version, places.models)
        before = known.get("champion_recall_at_5")
        earlier = "-" if before is None else f"{before:.3f}"
        lines.append(
            f"| {kept.month} | {known['num_pairs']:,.0f} | {earlier}, {known['recall_at_5']:.3f} | "
            f"{recall(kept.projection, features, is_test):.3f} |"
        )
    return lines


def refusals(places: Places, towers: Towers, how: str, spoil: Callable[[Vector], Vector]) -> str:
    """Whether the gate refuses each later month, had it arrived with its texts spoilt."""
    refused: list[str] = []
    passed: list[str] = []
    versions = model_store.versions(places.models)
    for before, version in pairwise(versions):
        champion, month = _kept(before, places.models), _kept(version, places.models).month
        honest, is_test, months = _so_far(month, places, towers)
        is_new = np.array(months) == month
        texts = honest.texts.copy()
        texts[is_new] = spoil(texts[is_new])
        spoilt = replace(honest, texts=texts)
        fitted = projection.fit(spoilt.images[~is_test], spoilt.texts[~is_test])
        verdict = judge(fitted, spoilt, is_test, months, champion).verdict
        (passed if verdict.passed else refused).append(month)
    return f"{how}, the gate refuses {len(refused)} months and passes {', '.join(passed)}"


def _so_far(
    as_of: str, places: Places, towers: Towers
) -> tuple[Features, NDArray[np.bool_], list[str]]:
    """Of the pairs up to a month: features, which are of the test share, months of arrival."""
    taken = Snapshot("", tuple(pairs.arrived(places.data, as_of)))
    features = features_of(taken.months, towers, places.data)
    return features, taken.is_test, taken.months_of_pairs


def _kept(version: str, models: Store) -> Champion:
    """A champion that is kept."""
    month = json.loads(models.get(f"{version}/{model_store.MANIFEST}"))["month"]
    return Champion(str(month), projection.from_bytes(models.get(f"{version}/{PROJECTION}")))


def main() -> None:
    """Run all months, then print the curve.

    Raises:
        SystemExit: a month could not be refitted; what is said above tells why.
    """
    parser = argparse.ArgumentParser(prog="python -m examples.monthly_embeddings.months")
    add_places(parser)
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("monitoring").setLevel(logging.INFO)
    places, (locations, job) = to_places(options), schedule(options)
    for month, arriving in emoji_months.read(emoji_months.fetch(CACHE)).items():
        pairs.put(places.data, month, arriving)
        started, busy = time.monotonic(), _busy_s()
        due = look(locations, job, threading.Event(), now=partial(end_of, month))
        wall, busy = time.monotonic() - started, _busy_s() - busy
        if due is None and read_state(places.data).done != month:
            raise SystemExit(f"{month} could not be refitted")
        done = f"{len(arriving)} pairs arrived" if due is None else due.reason
        sys.stdout.write(f"{month}: {done}; {wall:.1f} s, of processor {busy:.1f} s\n")
        sys.stdout.flush()
    towers = load().towers
    lines = [
        *curve(places, towers),
        refusals(places, towers, "shuffled", np.random.default_rng(0).permutation),
        refusals(places, towers, "a line down", lambda texts: np.roll(texts, 1, axis=0)),
        refusals(places, towers, "two down", lambda texts: np.roll(texts, 2, axis=0)),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _busy_s() -> float:
    """Processor time of the refits that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
