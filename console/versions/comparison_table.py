"""The rows of the table that shows models side by side. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from console.versions.model_facts import ModelFacts, SetFacts


@dataclass(frozen=True, slots=True)
class TableRow:
    """One number or fact of each model."""

    name: str
    cells: tuple[str, ...]  # one a column
    note: str = ""  # last column
    is_head: bool = False  # a heading of the rows below it


def rows(models: Sequence[ModelFacts], lost_won: Mapping[str, tuple[int, int]]) -> list[TableRow]:
    """The table.

    Args:
        models: one a column.
        lost_won: of the chosen candidate, by set: crops that only the champion reads right, and
            only the candidate.
    """
    return [*_sets(models, lost_won), *_robustness(models), *_file(models), *_origin(models)]


def _sets(
    models: Sequence[ModelFacts], lost_won: Mapping[str, tuple[int, int]]
) -> Iterator[TableRow]:
    names = list(dict.fromkeys(name for model in models for name in model.sets))
    parts: list[tuple[str, Callable[[SetFacts], float]]] = [
        ("Read right", lambda one: one.accuracy),
        ("Accepted", lambda one: one.accepted_frac),
        ("Wrong among accepted", lambda one: one.wrong_frac),
    ]
    for title, value in parts:
        yield TableRow(title, (), is_head=True)
        for name in names:
            cells = tuple(
                _percent(value(model.sets[name]) if name in model.sets else None)
                for model in models
            )
            lost, won = lost_won.get(name, (0, 0))
            note = f"{lost} lost, {won} won" if name in lost_won and title == parts[0][0] else ""
            yield TableRow(name.replace("_", " "), cells, note)


def _robustness(models: Sequence[ModelFacts]) -> Iterator[TableRow]:
    yield TableRow("Damaged crops and garbage", (), is_head=True)
    yield _row("harm, damage seen in training", models, lambda one: _percent(one.harm_seen))
    yield _row("harm, damage never seen", models, lambda one: _percent(one.harm_unseen))
    yield _row("read right under corruptions", models, lambda o: _percent(o.corruption_accuracy))
    yield _row("garbage told apart (AUROC)", models, lambda one: _number(one.garbage_auroc))


def _file(models: Sequence[ModelFacts]) -> Iterator[TableRow]:
    yield TableRow("File and speed", (), is_head=True)
    for size in ("1", "32"):
        cells = tuple(_micros(model.latency_us.get(size)) for model in models)
        yield TableRow(f"time a digit, batch of {size}", cells)
    yield _row("size", models, lambda one: f"{one.size_bytes / 1000:.0f} kB")


def _origin(models: Sequence[ModelFacts]) -> Iterator[TableRow]:
    yield TableRow("Where it comes from", (), is_head=True)
    yield _row("made (UTC)", models, lambda one: one.created.replace("T", " ").rstrip("Z"))
    yield _row("network", models, lambda one: one.network)
    yield _row("commit", models, lambda one: one.git_commit[:12] or "-")
    yield _row("went on from weights", models, lambda o: o.warm_start[:12] if o.warm_start else "-")
    yield _row("mean of runs", models, lambda one: ", ".join(r[:8] for r in one.averaged) or "-")
    yield _row("labelled mail", models, lambda one: one.data_version or "none")
    yield _row("sites", models, _sites)


def _sites(model: ModelFacts) -> str:
    listed = [f"{site} ({num:,})" for site, num in sorted(model.sites.items())]
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more or "-"


def _row(name: str, models: Sequence[ModelFacts], show: Callable[[ModelFacts], str]) -> TableRow:
    return TableRow(name, tuple(show(model) or "-" for model in models))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _micros(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} µs"
