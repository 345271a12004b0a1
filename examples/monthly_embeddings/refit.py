"""A month's refit: `python -m examples.monthly_embeddings.refit --data s3://bucket/prefix`.

    is it due -> snapshot -> features -> fit -> gate -> promote -> people are told

Edge: reads and writes the data store, the champion folder and the registry.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from capture.store import MissingKey, Store, open_store
from examples.monthly_embeddings import pairs, projection
from examples.monthly_embeddings.candidate import PROJECTION, make_candidate
from examples.monthly_embeddings.features import features_of
from examples.monthly_embeddings.judging import refit
from examples.monthly_embeddings.notice import Notice, tell
from examples.monthly_embeddings.search_model import CHAMPION, RULES, load_model
from examples.monthly_embeddings.towers import Weights, load
from model.champion_files import read_files, verify_files
from monitoring.config import Triggers
from monitoring.retrain_due import Due, RetrainState, is_due
from training.promotion import PromotionRefused, promote

DATA: Final = ".work/examples/monthly_embeddings/data"
STORE: Final = ".work/examples/monthly_embeddings/models"
STATE: Final = "refit/state.json"
TRIGGERS: Final = Triggers(min_labels=5, drift=None)  # pairs that are new

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a refit reads and writes."""

    data: Store
    models: Store
    champion: Path


def look(places: Places, weights: Weights, *, now: datetime, why: str) -> Due:
    """Refit the last finished month if enough has arrived; says what was decided and why.

    Raises:
        DataRefused, StoreError: nothing was changed; the next call tries again.
    """
    state = _state(places.data)
    due = is_due(state, TRIGGERS, _events(places.data), [], now=now)
    if not due.starts:
        return due
    _refit(due.as_of, places, weights, why)
    done = RetrainState(done=due.as_of, num_labelled=due.num_labelled)
    places.data.put(STATE, json.dumps(asdict(done)).encode(), content_type="application/json")
    return due


def _state(data: Store) -> RetrainState:
    try:
        return RetrainState(**json.loads(data.get(STATE)))
    except MissingKey:
        return RetrainState()


def _events(data: Store) -> pd.DataFrame:
    """One event a pair that has arrived, as `is_due` reads the labels of digits."""
    months = pairs.arrived(data, "9999-12")
    rows = [
        (f"{one.month}/{place}", 0, pd.Timestamp(f"{one.month}-01", tz="UTC"))
        for one in months
        for place in range(len(one.pairs))
    ]
    return pd.DataFrame(rows, columns=["read_id", "crop_index", "when"])


def _refit(as_of: str, places: Places, weights: Weights, why: str) -> None:
    """Fit, judge and promote one month; a refusal by the gate is told, not raised."""
    taken = pairs.snapshot(places.data, as_of)
    features = features_of(taken.months, weights.towers, places.data)
    is_test = np.array([pair.is_test for pair in taken.pairs])
    is_new = np.array([one.month == as_of for one in taken.months for _ in one.pairs])
    champion = None
    if (places.champion / PROJECTION).exists():
        champion = projection.from_bytes((places.champion / PROJECTION).read_bytes())
    refitted = refit(features, is_test, is_new, champion)
    candidate, verdict = make_candidate(as_of, taken, features, is_test, refitted, weights)
    try:
        version = promote(
            candidate,
            verdict,
            places.champion,
            places.models,
            check=lambda folder: load_model(verify_files(read_files(folder, RULES), RULES)),
            why=f"{as_of}: {why}",
        )
    except PromotionRefused:
        version = None
    tell(places.data, Notice(as_of, taken.version, version, refitted, verdict))


def main() -> int:
    """Look once; 0 also where nothing is due or the gate refuses."""
    parser = argparse.ArgumentParser(prog="python -m examples.monthly_embeddings.refit")
    parser.add_argument("--data", default=DATA, help="folder or s3:// (%(default)s)")
    parser.add_argument("--champion", type=Path, default=CHAMPION, help="folder (%(default)s)")
    parser.add_argument("--store", default=STORE, help="keeps the champions (%(default)s)")
    parser.add_argument("--why", default="the month is over", help="for the promotion log")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    places = Places(open_store(args.data), open_store(args.store), args.champion)
    due = look(places, load(), now=datetime.now(UTC), why=args.why)
    done = f"refitted on {due.num_labelled} pairs" if due.starts else due.reason
    sys.stdout.write(f"{due.as_of}: {done}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
