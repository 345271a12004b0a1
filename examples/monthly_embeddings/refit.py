"""A month's refit: `python -m examples.monthly_embeddings.refit --as-of 2026-05`.

    snapshot -> embed -> fit -> export -> gate -> promote

The steps of this example for `training/month_loop.py`. Edge: reads and writes the data store, the
work folder, the champion folder and the registry.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from capture.store import Store, StoreError, open_store
from examples.monthly_embeddings import candidate, pairs, projection
from examples.monthly_embeddings.candidate import NAME, PROJECTION
from examples.monthly_embeddings.features import Features, features_of
from examples.monthly_embeddings.judging import judge
from examples.monthly_embeddings.pairs import DataRefused, Snapshot
from examples.monthly_embeddings.search_model import CHAMPION, RULES, load_model
from examples.monthly_embeddings.towers import Weights, load
from model.champion_files import read_files, verify_files
from training import month_loop, promotion
from training.gate_verdict import Reason, Verdict
from training.month_loop import CALM, GATE, WATCH, Month, Outcome, Step
from training.retrain_state import RetrainState
from training.step_error import StepError
from training.steps.files import champion_sha256
from training.steps.workspace_lock import hold

FOLDER: Final = Path(".work/examples/monthly_embeddings")
STEPS: Final = ("embed", "fit", "export", GATE, "promote")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a refit reads and writes."""

    data: Store
    models: Store
    champion: Path
    work: Path

    @property
    def candidate(self) -> Path:
        """Folder of the candidate's files."""
        return self.work / "candidate"

    @property
    def verdict(self) -> Path:
        """What the gate said, with its numbers."""
        return self.work / "verdict.json"


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """The steps of one month."""

    as_of: str
    until: str
    why: str
    places: Places
    taken: Snapshot
    weights: Weights

    def month(self) -> Month:
        """For `month_loop.run`."""
        folder, verdict = self.places.candidate, self.places.verdict
        steps = (
            Step("embed", self.embed),
            Step("fit", self.fit, (folder / PROJECTION,)),
            Step("export", self.export, tuple(folder / name for name in candidate.EXPORTED)),
            Step(GATE, self.gate, (verdict,), self.tell_of_gate),
            Step("promote", self.promote, (), self.tell_of_champion),
        )
        return Month(
            about={
                "month": self.as_of,
                "data": self.taken.version,
                "champion": champion_sha256(self.places.champion) or "none",
                "recipe": f"ridge {projection.RIDGE}, networks {self.weights.towers.name}",
            },
            until=self.until,
            steps=steps[: STEPS.index(self.until) + 1],
            passed=lambda: self.judged()[0].passed,
            nothing_new=self.nothing_new,
            check=lambda: None,  # pairs.snapshot has refused what cannot be read
        )

    def nothing_new(self, state: RetrainState) -> Outcome | None:
        """What to tell where the champion has seen all months that there are."""
        champion = candidate.load_champion(self.places.champion)
        if state.done or champion is None or self.taken.months[-1].month > champion.month:
            return None
        why = f"no pair has arrived since {champion.month}, which the champion has seen (--force)"
        return Outcome(f"Refit of {self.as_of}: nothing new", (why,), "Nothing.", CALM, self.as_of)

    def features(self) -> Features:
        """Of all pairs; of new ones they are made, and kept in the store."""
        return features_of(self.taken.months, self.weights.towers, self.places.data)

    def embed(self) -> bool:
        """Make the features of the pairs that are new."""
        self.features()
        return True

    def fit(self) -> bool:
        """Fit on all that has arrived but the test share."""
        features, rows = self.features(), ~self.taken.is_test
        fitted = projection.fit(features.images[rows], features.texts[rows])
        self.places.candidate.mkdir(parents=True, exist_ok=True)
        (self.places.candidate / PROJECTION).write_bytes(fitted.to_bytes())
        return True

    def export(self) -> bool:
        """Write the other files of a champion."""
        features = self.features()
        candidate.export(self.places.candidate, self.as_of, self.taken, features, self.weights)
        return True

    def gate(self) -> bool:
        """Compare the candidate with the limits and the champion; note and log the verdict."""
        folder, features, taken = self.places.candidate, self.features(), self.taken
        judged = judge(
            candidate.load_projection(folder),
            features,
            taken.is_test,
            taken.months_of_pairs,
            candidate.load_champion(self.places.champion),
        )
        same = candidate.is_as_fitted(folder, taken, features)
        verdict = Verdict((*judged.verdict.reasons, same), judged.verdict.notes)
        metrics = {
            "recall_at_5": judged.recall,
            "num_pairs": float(len(taken.pairs)),
            "num_test": float(taken.is_test.sum()),
        }
        if judged.champion_recall is not None:
            metrics["champion_recall_at_5"] = judged.champion_recall
        made = candidate.read(folder, metrics, self.weights.towers.name)
        noted = asdict(verdict) | {"metrics": metrics, "run_id": promotion.log(made, verdict)}
        self.places.verdict.write_text(json.dumps(noted, indent=1) + "\n")
        return verdict.passed

    def judged(self) -> tuple[Verdict, Mapping[str, Any]]:
        """What `gate` has noted: the verdict; metrics and run_id beside it."""
        noted = json.loads(self.places.verdict.read_text())
        reasons = tuple(Reason(**row) for row in noted["reasons"])
        return Verdict(reasons, tuple(noted["notes"])), noted

    def promote(self) -> bool:
        """Make the candidate the champion."""
        noted = self.judged()[1]
        promotion.make_champion(
            candidate.read(self.places.candidate, noted["metrics"], self.weights.towers.name),
            noted["run_id"],
            self.places.champion,
            self.places.models,
            check=lambda folder: load_model(verify_files(read_files(folder, RULES), RULES)),
            why=f"{self.as_of}: {self.why}",
        )
        return True

    def tell_of_gate(self) -> Outcome | None:
        """None where the promotion is told instead."""
        if not self.judged()[0].passed:
            return self.outcome(
                "the gate refused it; the champion stays",
                f"Look at arrivals/{self.as_of}; mend or delete it. The next month's refit takes "
                "what is there then.",
                WATCH,
            )
        if self.until == GATE:
            return self.outcome("the candidate passed the gate", "Promote it if you agree.", WATCH)
        return None

    def tell_of_champion(self) -> Outcome:
        """Of the new version."""
        version = json.loads((self.places.champion / "manifest.json").read_bytes())["version"]
        return self.outcome(
            f"version {version} is the champion", "Nothing; the service exchanges it.", CALM
        )

    def outcome(self, what: str, to_do: str, severity: int) -> Outcome:
        """With the gate's numbers."""
        verdict, noted = self.judged()
        metrics = noted["metrics"]
        found = f"recall@5 {metrics['recall_at_5']:.3f} on the test share so far"
        if "champion_recall_at_5" in metrics:
            found += f"; the champion before {metrics['champion_recall_at_5']:.3f}"
        details = (f"data {self.taken.version}", found, *map(str, verdict.failures))
        title = f"Refit of {self.as_of}: {what}"
        return Outcome(title, (*details, *verdict.notes), to_do, severity, self.as_of)


def run(
    as_of: str,
    places: Places,
    weights: Weights,
    *,
    why: str,
    until: str,
    force: bool,
    tell: Callable[[Path], None],
) -> None:
    """Run the steps of a month that are left.

    Raises:
        DataRefused, StoreError: nothing was changed; the next call goes on.
    """
    promotion.settle(NAME, places.champion)
    taken = pairs.snapshot(places.data, as_of)
    month = Refit(as_of, until, why, places, taken, weights).month()
    month_loop.run(month, places.work, tell=tell, force=force)


def add_places(parser: argparse.ArgumentParser) -> None:
    """The options that say where a refit reads and writes."""
    add = parser.add_argument
    add("--data", default=f"{FOLDER}/data", help="folder or s3:// (%(default)s)")
    add("--store", default=f"{FOLDER}/models", help="keeps the champions (%(default)s)")
    add("--champion", type=Path, default=CHAMPION, help="folder (%(default)s)")
    add("--work", type=Path, default=FOLDER / "work", help="of the candidate (%(default)s)")
    add("--why", default="the month is over", help="for the promotion log")


def to_places(options: argparse.Namespace) -> Places:
    """What the options of `add_places` say."""
    return Places(
        open_store(options.data), open_store(options.store), options.champion, options.work
    )


def main() -> int:
    """Refit a month; 0 also where the gate refuses, 2 where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m examples.monthly_embeddings.refit")
    parser.add_argument("--as-of", required=True, help="the month, as 2026-05")
    parser.add_argument("--until", choices=(GATE, "promote"), default="promote")
    parser.add_argument("--force", action="store_true", help="do a month again that is done")
    add_places(parser)
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("training").setLevel(logging.INFO)
    try:
        with hold(options.work):
            run(
                options.as_of,
                to_places(options),
                load(),
                why=options.why,
                until=options.until,
                force=options.force,
                tell=partial(_tell, options.data),
            )
    except (DataRefused, StepError, StoreError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _tell(data: str, event: Path) -> None:
    month_loop.start_notification(event, "--reports", data)


if __name__ == "__main__":
    raise SystemExit(main())
