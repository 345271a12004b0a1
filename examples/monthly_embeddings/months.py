"""All months one after another: `python -m examples.monthly_embeddings.months --why REASON`.

Each version of the emoji list arrives, the month ends, and `refit` looks. At the end each month's
champion is asked for the whole test share, which most of them have seen no month of: the curve.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from capture.store import Store, open_store
from examples.monthly_embeddings import emoji_months, pairs, projection
from examples.monthly_embeddings.candidate import PROJECTION
from examples.monthly_embeddings.features import Towers, features_of
from examples.monthly_embeddings.judging import recall, refit
from examples.monthly_embeddings.projection import Vector
from examples.monthly_embeddings.refit import DATA, STORE, Places, look
from examples.monthly_embeddings.search_model import CHAMPION
from examples.monthly_embeddings.towers import load
from training import model_store

CACHE: Final = Path(".cache/emoji")


def end_of(month: str) -> datetime:
    """Some hours into the next month."""
    return (datetime.fromisoformat(f"{month}-01") + timedelta(32)).replace(
        day=1, hour=3, tzinfo=UTC
    )


def curve(places: Places, towers: Towers) -> list[str]:
    """A row a champion: its month, pairs, recall when judged, recall on all months' test share."""
    months = pairs.arrived(places.data, "9999-12")
    features = features_of(months, towers, places.data)
    is_test = np.array([pair.is_test for one in months for pair in one.pairs])
    lines = [
        f"{is_test.sum()} texts in the test share of all months",
        "| month | pairs so far | test share so far: champion before, new | all months' |",
        "| --- | --- | --- | --- |",
    ]
    for version in model_store.versions(places.models):
        month, fitted = _kept(version, places.models)
        known = model_store.metrics(version, places.models)
        before = known.get("champion_recall_at_5")
        earlier = "-" if before is None else f"{before:.3f}"
        lines.append(
            f"| {month} | {known['num_pairs']:,.0f} | {earlier}, {known['recall_at_5']:.3f} | "
            f"{recall(fitted, features, is_test):.3f} |"
        )
    return lines


def refusals(places: Places, towers: Towers, how: str, spoil: Callable[[Vector], Vector]) -> str:
    """Whether the gate refuses each later month, had it arrived with its texts spoilt."""
    refused: list[str] = []
    passed: list[str] = []
    versions = model_store.versions(places.models)
    for before, version in pairwise(versions):
        champion, month = _kept(before, places.models)[1], _kept(version, places.models)[0]
        months = pairs.arrived(places.data, month)
        honest = features_of(months, towers, places.data)
        is_test = np.array([pair.is_test for one in months for pair in one.pairs])
        is_new = np.array([one.month == month for one in months for _ in one.pairs])
        texts = honest.texts.copy()
        texts[is_new] = spoil(texts[is_new])
        verdict = refit(replace(honest, texts=texts), is_test, is_new, champion).verdict
        (passed if verdict.passed else refused).append(month)
    return f"{how}, the gate refuses {len(refused)} months and passes {', '.join(passed)}"


def _kept(version: str, models: Store) -> tuple[str, projection.Projection]:
    """Month and projection of a champion that is kept."""
    month = json.loads(models.get(f"{version}/{model_store.MANIFEST}"))["month"]
    return str(month), projection.from_bytes(models.get(f"{version}/{PROJECTION}"))


def main() -> None:
    """Run all months, then print the curve."""
    parser = argparse.ArgumentParser(prog="python -m examples.monthly_embeddings.months")
    parser.add_argument("--data", default=DATA, help="folder or s3:// (%(default)s)")
    parser.add_argument("--champion", type=Path, default=CHAMPION, help="folder (%(default)s)")
    parser.add_argument("--store", default=STORE, help="keeps the champions (%(default)s)")
    parser.add_argument("--why", default="the month is over", help="for the promotion log")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    logging.getLogger("monitoring").setLevel(logging.INFO)
    places = Places(open_store(args.data), open_store(args.store), args.champion)
    weights = load()
    for month, arriving in emoji_months.read(emoji_months.fetch(CACHE)).items():
        pairs.put(places.data, month, arriving)
        started = time.monotonic(), time.process_time()
        due = look(places, weights, now=end_of(month), why=args.why)
        wall, busy = time.monotonic() - started[0], time.process_time() - started[1]
        done = f"{len(arriving)} pairs arrived" if due.starts else due.reason
        sys.stdout.write(f"{month}: {done}; {wall:.1f} s, of processor {busy:.1f} s\n")
        sys.stdout.flush()
    lines = [
        *curve(places, weights.towers),
        refusals(places, weights.towers, "shuffled", np.random.default_rng(0).permutation),
        refusals(places, weights.towers, "a line down", lambda texts: np.roll(texts, 1, axis=0)),
        refusals(places, weights.towers, "two down", lambda texts: np.roll(texts, 2, axis=0)),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
