"""Measure the site breaker: docs/measurements/site-breaker-*.md.

Test digits are rendered as ordinary mail and read by the champion, whole and with each fault of
`scanner_faults`. A stream of such mail, with seasons and mailings (`mail_stream`), goes through the
service's own judge of a site (`serving.reading.site_judge`).
"""

from __future__ import annotations

import argparse
import sys
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture.site_states import SiteState, learn
from model import artifact
from model.decision import BLANK, decide, softmax
from monitoring.studies import champion_reader, scanner_faults, simulated_mail
from monitoring.studies.mail_stream import MailModel, MailStream
from serving.messages import Reading
from serving.reading import site_signals as signal
from serving.reading.change_test import LOOK_FROM
from serving.reading.site_judge import SiteJudge
from serving.reading.site_signals import LOOK_EVERY

PARTS: Final = ("years", "faults", "tenth", "processes")
READS_A_YEAR: Final = 5_000_000
POOL: Final = 6_000
FAULT_POOL: Final = 2_000
BATCH: Final = 20  # reads between two looks of the service, at 200 reads/s
YEAR_BATCH: Final = 100
HISTORY_DAYS: Final = 3
PATIENCE: Final = 5_000  # crops of an incident
PATIENCE_TENTH: Final = 50_000
DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Pool:
    """Crops that were read: signals, and which were accepted with a wrong digit."""

    signals: NDArray[np.float64]  # (N, NUM_SIGNALS)
    is_astray: NDArray[np.bool_]  # (N,)
    hardness: NDArray[np.float64]  # (N,) of reading, standardised

    @property
    def reject_share(self) -> float:
        """Of all."""
        return float(self.signals[:, signal.REJECTED].mean())


class Study:
    """The pools, and judges over them."""

    def __init__(self, crops: champion_reader.Crops, labels: champion_reader.Labels) -> None:
        self.reader = champion_reader.Reader()
        self._champion = artifact.load()
        self._crops, self._labels = crops, labels
        self.clean = self.read(crops)
        self.faults: dict[str, Pool] = {}

    def read(self, crops: champion_reader.Crops) -> Pool:
        """Read crops as the service does."""
        framed = [champion_reader.frame_or_none(crop) for crop in crops]
        blank = np.zeros((1, 28, 28), np.float32)
        scores = self.reader.scores(np.stack([blank if f is None else f.image for f in framed]))
        notes = array("d")
        wrong = []
        decided = zip(
            crops, framed, decide(scores, self.reader.policy), scores.garbage.tolist(),
            self._labels[: len(crops)].tolist(), strict=True,
        )  # fmt: skip
        for crop, one, scored, garbage, label in decided:
            decision = BLANK if one is None else scored
            score = -np.inf if one is None else garbage
            reading = Reading(crop, one, None, decision, score, 0, 0, 0, 0)
            signal.note(notes, reading, look=True)
            wrong.append(decision.accepted and decision.digit != label)
        signals = signal.to_signals(notes, self.reader.policy)
        return Pool(signals, np.array(wrong), hardness_of(scores.garbage, scores.logits))

    def add_fault(self, name: str) -> Pool:
        """The pool with a fault, of the clean pool's first crops."""
        if name not in self.faults:
            fault = scanner_faults.FAULTS[name]
            crops = scanner_faults.apply(fault, self._crops[:FAULT_POOL], seed=1)
            self.faults[name] = self.read(crops)
        return self.faults[name]

    def stream(self, seed: int, model: MailModel, num: int = POOL) -> MailStream:
        """A site's mail from the first rows of the pool."""
        digits = self._labels[:num].astype(np.int64)
        return MailStream(digits, self.clean.hardness[:num], model, seed)

    def judge(self) -> SiteJudge:
        """Of a new site."""
        return SiteJudge(
            SiteState("study"),
            model_version=self.reader.version,
            expected_reject_share=champion_reader.expected_reject_share(self._champion),
            may_hold=True,
        )


def hardness_of(garbage: NDArray[np.float32], logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """How hard crops are to read: garbage score and lack of confidence, bounded, (N,)."""
    top = softmax(logits, 1.0).max(axis=1)
    parts = [garbage.ravel().astype(float), np.log10(np.maximum(1 - top, 1e-6))]
    hardness = sum(_standardised(part).clip(-2, 2) for part in parts)
    return _standardised(np.asarray(hardness))


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))


def as_looked_at(judge: SiteJudge, signals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The signals of some reads, of which the service has measured as many crops as it does."""
    if judge.test.level >= LOOK_FROM:
        return signals
    looked = signals.copy()
    looked[np.arange(len(looked)) % LOOK_EVERY > 0, signal.FULL_LINE :] = np.nan
    return looked


def adopt_learned(judge: SiteJudge) -> None:
    """Let the judge go on from what it has learned, as the service does every 15 s."""
    judge.adopt(learn(judge.state, judge.take_learned(None)))


def trips_of_a_year(study: Study, seed: int, model: MailModel) -> Counter[str]:
    """Trips in a year of clean mail, by statistic; each is released at once."""
    judge = study.judge()
    trips: Counter[str] = Counter()
    for number, rows in enumerate(study.stream(seed, model).days(READS_A_YEAR // 365)):
        for start in range(0, len(rows), YEAR_BATCH):
            signals = study.clean.signals[rows[start : start + YEAR_BATCH]]
            incident = judge.add(as_looked_at(judge, signals), number * DAY_US)
            if incident is not None:
                trips[f"{incident.statistic} {incident.status}"] += 1
                judge.test.reset()
        adopt_learned(judge)
    return trips


@dataclass(frozen=True, slots=True)
class Detection:
    """One incident, from its first damaged crop until the site trips."""

    num_reads: int
    num_astray: int
    reason: str  # empty: it did not trip


def settled_judge(study: Study, stream: MailStream) -> SiteJudge:
    """A judge with the history of some days of clean mail."""
    judge = study.judge()
    for rows in stream.days(READS_A_YEAR // 365, HISTORY_DAYS):
        for start in range(0, len(rows), YEAR_BATCH):
            signals = study.clean.signals[rows[start : start + YEAR_BATCH]]
            judge.add(as_looked_at(judge, signals), 0)
            if judge.test.is_suspect:
                judge.test.reset()
        adopt_learned(judge)
    return judge


def detect(
    study: Study,
    stream: MailStream,
    judges: list[SiteJudge],
    fault: Pool,
    *,
    share: float,
    patience: int,
    rng: np.random.Generator,
) -> Detection:
    """Damage a share of the crops until one of the site's processes trips."""
    rows = stream.day(patience, int(rng.integers(365)))
    damaged = rng.random(len(rows)) < share
    signals = np.where(damaged[:, None], fault.signals[rows], study.clean.signals[rows])
    astray = np.where(damaged, fault.is_astray[rows], study.clean.is_astray[rows])
    for number, start in enumerate(range(0, len(rows), BATCH)):
        end = start + BATCH
        judge = judges[number % len(judges)]
        incident = judge.add(as_looked_at(judge, signals[start:end]), 0)
        if incident is not None:
            return Detection(end, int(astray[:end].sum()), incident.reason)
    return Detection(len(rows), int(astray.sum()), "")


def detections(
    study: Study, fault: Pool, *, share: float, patience: int, repeats: int, processes: int = 1
) -> list[Detection]:
    """Many incidents with one fault, each at another site."""
    found = []
    for repeat in range(repeats):
        stream = study.stream(1_000 + repeat, MailModel(), FAULT_POOL)
        settled = settled_judge(study, stream)
        judges = [study.judge() for _ in range(processes)]
        for judge in judges:
            judge.adopt(settled.state)
        rng = np.random.default_rng([repeat, 5])
        found.append(detect(study, stream, judges, fault, share=share, patience=patience, rng=rng))
    return found


def print_years(study: Study, num_sites: int) -> None:
    """Print the false trips of site-years, under milder and harsher mail."""
    print(f"Model {study.reader.version}; {READS_A_YEAR:,} reads a site-year, clean mail.\n")
    print("| mail | site-years | rejects of mailings, 5 to 95 % | false trips a site-year |")
    print("|---|---|---|---|")
    for text, model in {
        "as assumed": MailModel(),
        "without seasons, senders and letters": MailModel(0, 0, 0, 0, 0.5, 300, 1.0, 0.25, 0),
        "senders differ 1.5 times as much": MailModel(sender_tilt=0.525),
        "mailings of 1,500 letters": MailModel(mailing_letters=1_500),
    }.items():
        trips = Counter[str]()
        for seed in range(num_sites):
            trips += trips_of_a_year(study, seed, model)
        rate = sum(trips.values()) / num_sites
        low, high = mailing_rejects(study, model)
        kinds = ", ".join(f"{kind} {number}" for kind, number in trips.items()) or "none"
        print(
            f"| {text} | {num_sites} | {low:.0%} to {high:.0%} | {rate:.2f} ({kinds}) |", flush=True
        )


def mailing_rejects(study: Study, model: MailModel) -> tuple[float, float]:
    """Reject share of runs of 500 crops: the 5th and 95th percentile."""
    shares = []
    for rows in study.stream(99, model).days(10_000, 60):
        rejected = study.clean.signals[rows, signal.REJECTED].reshape(-1, 500)
        shares.append(rejected.mean(axis=1))
    low, high = np.quantile(np.concatenate(shares), [0.05, 0.95])
    return float(low), float(high)


def print_faults(study: Study, repeats: int, *, share: float, patience: int) -> None:
    """Print how long each fault takes to trip a site."""
    print(
        f"\nModel {study.reader.version}; {share:.0%} of a site's crops damaged; {repeats} sites.\n"
    )
    print(
        "| fault | rejected | astray, of posted | tripped | reads until then: median, p95 "
        "| letters astray until then: median, mean, p95 | reason |\n|---|---|---|---|---|---|---|"
    )
    for name in scanner_faults.FAULTS:
        pool = study.add_fault(name)
        found = detections(study, pool, share=share, patience=patience, repeats=repeats)
        tripped = [one for one in found if one.reason]
        reads = [one.num_reads if one.reason else np.inf for one in found]
        astray = [one.num_astray for one in found]
        median, late = np.quantile(reads, [0.5, 0.95], method="higher")
        reasons = Counter(one.reason for one in tripped).most_common(2)
        print(
            f"| {name} | {pool.reject_share:.0%} | {pool.is_astray.mean():.1%} "
            f"| {len(tripped) / len(found):.0%} | {median:,.0f}, {late:,.0f} "
            f"| {np.median(astray):.0f}, {np.mean(astray):.1f}, {np.quantile(astray, 0.95):.0f} "
            f"| {', '.join(f'{text} {number / len(tripped):.0%}' for text, number in reasons)} |",
            flush=True,
        )


def print_processes(study: Study, repeats: int) -> None:
    """Print what it costs that several processes share a site's reads evenly."""
    print("\n| processes | reads until the first trips: median, p95 | letters astray: mean |")
    print("|---|---|---|")
    pool = study.add_fault("turned by 180 degrees")
    for processes in (1, 2, 4, 8):
        found = detections(
            study, pool, share=1.0, patience=PATIENCE, repeats=repeats, processes=processes
        )
        median, late = np.quantile([one.num_reads for one in found], [0.5, 0.95])
        print(f"| {processes} | {median:,.0f}, {late:,.0f} "
              f"| {np.mean([one.num_astray for one in found]):.1f} |", flush=True)  # fmt: skip


def load_mail(path: Path, num: int) -> tuple[champion_reader.Crops, champion_reader.Labels]:
    """Crops of a Parquet file with the columns png and label, in random order."""
    import io

    import pandas as pd
    from PIL import Image

    mail = pd.read_parquet(path).sample(num, random_state=0)
    crops = [np.asarray(Image.open(io.BytesIO(png)).convert("L")) for png in mail["png"]]
    return crops, mail["label"].to_numpy(np.uint8)


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring.studies.site_breaker",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="tables to print")
    parser.add_argument("--sites", type=int, default=10, help="site-years of each kind of mail")
    parser.add_argument("--repeats", type=int, default=100, help="incidents of each fault")
    parser.add_argument("--mail", type=Path, help="Parquet file (png, label) instead of MNIST")
    options = parser.parse_args()
    if options.mail:
        crops, labels = load_mail(options.mail, POOL)
    else:
        crops, labels = simulated_mail.ordinary_mail(POOL, seed=2)
    study = Study(crops, labels)
    print(f"# clean: {study.clean.reject_share:.1%} rejected", file=sys.stderr)
    if "years" in options.parts:
        print_years(study, options.sites)
    if "faults" in options.parts:
        print_faults(study, options.repeats, share=1.0, patience=PATIENCE)
    if "tenth" in options.parts:
        print_faults(study, options.repeats // 4, share=0.1, patience=PATIENCE_TENTH)
    if "processes" in options.parts:
        print_processes(study, options.repeats)


if __name__ == "__main__":
    main()
