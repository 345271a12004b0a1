"""Step `compare`: runs side by side, from what `evaluate` left in their folders or in MLflow.

Edge: reads work folders, downloads runs from MLflow, prints tables, writes pictures.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contract import costs
from training import tracking
from training.config import Workspace
from training.evaluation import comparing, harm, judge
from training.evaluation.answers import SetAnswers, load_answers
from training.step_error import StepError
from training.steps.files import load_evaluation

SEED_FOLDER = "seed-"  # `--seeds 7 8` writes WORK/seed-7 and WORK/seed-8


@dataclass(frozen=True, slots=True)
class Seed:
    """One evaluated fit."""

    answers: Mapping[str, SetAnswers]
    evaluation: judge.Evaluation | None  # None after `try`


@dataclass(frozen=True, slots=True)
class Run:
    """What a RUN on the command line names: one fit, or a folder of fits with several seeds."""

    name: str
    seeds: tuple[Seed, ...]


def run(names: Sequence[str], pictures: Path) -> None:
    """Print the tables and write a picture of the changed crops for each run after the first.

    Args:
        names: work folders or ids of MLflow runs.
        pictures: folder to write to.

    Raises:
        StepError: a run was not evaluated, or on other crops than the first.
    """
    runs = [load_run(name) for name in names]
    print_sets(runs)
    print_models(runs)
    for found in runs:
        if len(found.seeds) > 1:
            print_spread(found)
    for number, other in enumerate(runs[1:], 2):
        png = comparing.draw_changed(runs[0].seeds[0].answers, other.seeds[0].answers)
        if png is None:
            print(f"\nno crop changed sides in {other.name}")
            continue
        pictures.mkdir(parents=True, exist_ok=True)
        path = pictures / f"changed-{number}.png"
        path.write_bytes(png)
        print(f"\ncrops that changed sides from {runs[0].name} to {other.name}: {path}")


def load_run(name: str) -> Run:
    """Read what `evaluate` wrote for a folder or an MLflow run.

    Raises:
        StepError: there is neither such a folder nor such a run, or it was not evaluated.
    """
    folder = Path(name)
    if folder.is_dir():
        seeds = sorted(folder.glob(f"{SEED_FOLDER}*"))
        if seeds and not Workspace(folder).answers.exists():
            return Run(name, tuple(_load_seed(seed) for seed in seeds))
        return Run(name, (_load_seed(folder),))
    tracking.connect()
    with tempfile.TemporaryDirectory() as place:
        if not tracking.fetch_files(name, Path("evaluation"), Path(place)):
            raise StepError(f"{name} is neither a work folder nor an evaluated run in MLflow")
        return Run(name, (_load_seed(Path(place), name=name),))


def load_seeds(folder: Path, seeds: Sequence[int]) -> Run:
    """Read the fits of a folder that have these seeds."""
    folders = [folder / f"{SEED_FOLDER}{seed}" for seed in seeds]
    return Run(str(folder), tuple(_load_seed(place) for place in folders))


def _load_seed(folder: Path, *, name: str | None = None) -> Seed:
    work = Workspace(folder)
    name = name or str(folder)
    if not work.answers.exists():
        raise StepError(f"{name} has no answers ({work.answers.name}): run `evaluate` on it")
    try:
        evaluation = load_evaluation(work) if work.evaluation.exists() else None
        return Seed(load_answers(work.answers), evaluation)
    except (ValueError, TypeError) as error:
        raise StepError(f"{name}: {error}") from error


def print_sets(runs: Sequence[Run]) -> None:
    """A table for each set, a row for each run; of several seeds the first."""
    first = runs[0].seeds[0]
    for name, part in first.answers.items():
        print(f"\n{name}, {len(part.labels):,} crops")
        print("| run | right | 95 % interval | gained | lost | p | accepted | harm | EUR/million |")
        print("|---|---|---|---|---|---|---|---|---|")
        for other in runs:
            print(_row(other, name, part))


def _row(other: Run, name: str, first: SetAnswers) -> str:
    answers = other.seeds[0].answers
    if name not in answers:
        return f"| {other.name} | not evaluated | | | | | | | |"
    try:
        row = comparing.compare(first, answers[name])
    except ValueError as error:
        raise StepError(f"{other.name}, set {name}: {error}") from error
    euros = costs.DEFAULT.euros_per_million(1 - row.accepted_frac, row.wrong_frac)
    changed = "| | | " if answers[name] is first else f"| {row.gained} | {row.lost} | "
    p = "" if answers[name] is first else f"{row.mcnemar_p:.3f}"
    return (
        f"| {other.name} | {row.accuracy:.2%} | {row.low:.2%} to {row.high:.2%} {changed}{p} |"
        f" {row.accepted_frac:.1%} | {row.wrong_frac:.2%} | {euros:,.0f} |"
    )


def print_models(runs: Sequence[Run]) -> None:
    """Size, speed, corruptions and harm of each run."""
    print("\nmodels")
    print("| run | int8 us, batch 1 | batch 32 | bytes | corruptions | harm seen | unseen |")
    print("|---|---|---|---|---|---|---|")
    for other in runs:
        result = other.seeds[0].evaluation
        if result is None:
            print(f"| {other.name} | only tried, not evaluated | | | | | |")
            continue
        print(
            f"| {other.name} | {result.latency.int8_us['1']:.0f} |"
            f" {result.latency.int8_us['32']:.0f} | {result.size_bytes:,} |"
            f" {result.mean_corruption_accuracy:.2%} | {_harm(result, seen=True)} |"
            f" {_harm(result, seen=False)} |"
        )


def _harm(result: judge.Evaluation, *, seen: bool) -> str:
    kinds = harm.by_kind(result.harm, seen=seen)
    return f"{sum(kinds.values()) / len(kinds):.2%}" if kinds else ""


def print_spread(found: Run) -> None:
    """Mean, standard deviation and range over the seeds, for each set."""
    print(f"\n{found.name}, {len(found.seeds)} seeds")
    print("| set | right, mean | deviation | range | accepted, mean | harm, mean |")
    print("|---|---|---|---|---|---|")
    for name in found.seeds[0].answers:
        parts = [seed.answers[name] for seed in found.seeds if name in seed.answers]
        right = comparing.spread([float(part.right.mean()) for part in parts])
        accepted = comparing.spread([float(part.accepted.mean()) for part in parts])
        wrong = comparing.spread([float((part.accepted & ~part.right).mean()) for part in parts])
        print(
            f"| {name} | {right.mean:.2%} | {right.deviation:.2%} | {right.low:.2%} to"
            f" {right.high:.2%} | {accepted.mean:.1%} | {wrong.mean:.2%} |"
        )
