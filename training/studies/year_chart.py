"""The chart and the table of simulated years. Pure: results in, PNG and Markdown out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.evaluation.thresholds import DEFAULT_ERROR_TARGET, interval
from training.studies.year_run import ARMS, CHECKED, NEVER, UNCHECKED, MonthResult

NUM_LAST = 4  # months that are pooled
DPI = 110
TITLES = (
    "accepted, %",
    "wrong among accepted, %, since month 1",
    "keys pressed a 1,000 reads",
    "euros a 1,000 reads",
)
COLOURS = {NEVER: "#767676", UNCHECKED: "#b8442a", CHECKED: "#1f5f99"}
EVENTS = {
    4: "new pen",
    5: "new site",
    6: "poisoned labels",
    7: "no labels",
    8: "dirty scanner",
}


@dataclass(frozen=True, slots=True)
class Pooled:
    """Some months of one arm together."""

    arm: str
    right_frac: float
    accepted_frac: float
    num_accepted: int
    num_wrong: int
    keys_per_thousand: float
    euros_per_thousand: float

    @property
    def wrong_interval(self) -> tuple[float, float]:
        """95 % interval of wrong among accepted."""
        return interval(self.num_wrong, self.num_accepted)


def pool(results: Sequence[MonthResult], arm: str, *, last: int = NUM_LAST) -> Pooled:
    """The last months of an arm."""
    newest = max(one.month for one in results)
    months = [one for one in results if one.arm == arm and one.month > newest - last]
    num = sum(one.num for one in months)
    return Pooled(
        arm,
        right_frac=sum(one.num_right for one in months) / num,
        accepted_frac=sum(one.num_accepted for one in months) / num,
        num_accepted=sum(one.num_accepted for one in months),
        num_wrong=sum(one.num_wrong for one in months),
        keys_per_thousand=1e3 * sum(one.num_keys for one in months) / num,
        euros_per_thousand=1e3 * sum(one.euros for one in months) / num,
    )


def median(pooled: Sequence[Pooled]) -> Pooled:
    """The order whose coverage is in the middle."""
    return sorted(pooled, key=lambda one: one.accepted_frac)[len(pooled) // 2]


def to_markdown(pooled: Sequence[Pooled], num_orders: int) -> str:
    """A row for each arm."""
    rows = [
        f"Last {NUM_LAST} months pooled; median of {num_orders} order(s) of the crops.",
        "",
        "| | read right | accepted | wrong of accepted (95 %) | keys a 1,000 | euros a 1,000 |",
        "|---|---|---|---|---|---|",
    ]
    for one in pooled:
        low, high = one.wrong_interval
        rows.append(
            f"| {one.arm} | {one.right_frac:.2%} | {one.accepted_frac:.1%} "
            f"| {one.num_wrong} of {one.num_accepted:,} ({low:.2%} to {high:.2%}) "
            f"| {one.keys_per_thousand:.0f} | {one.euros_per_thousand:.2f} |"
        )
    return "\n".join(rows) + "\n"


def audit_table(curve: Mapping[float, Pooled]) -> str:
    """What each audit share costs and gives, in the last months of one order."""
    rows = [
        "| audited, of accepted | accepted | wrong of accepted | keys a 1,000 | euros a 1,000 |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {share:.1%} | {one.accepted_frac:.1%} | {one.num_wrong} of {one.num_accepted:,} "
        f"| {one.keys_per_thousand:.0f} | {one.euros_per_thousand:.2f} |"
        for share, one in sorted(curve.items())
    ]
    return "\n".join(rows) + "\n"


def draw(results: Sequence[MonthResult]) -> bytes:
    """Four charts over the months: accepted, wrong, keys, euros."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    arms = [name for name in ARMS if any(one.arm == name for one in results)]
    for name in arms:
        rows = sorted((one for one in results if one.arm == name), key=lambda one: one.month)
        for axis, heights in zip(axes.flat, _lines(rows), strict=True):
            months = [one.month for one in rows]
            axis.plot(months, heights, marker="o", ms=3.5, label=name, color=COLOURS[name])
    for axis, title in zip(axes.flat, TITLES, strict=True):
        axis.set_title(title, fontsize=10, loc="left")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 1].axhline(100 * DEFAULT_ERROR_TARGET, color="black", lw=1, ls="--", label="promise")
    axes[0, 1].legend(fontsize=8, frameon=False)
    for axis in axes[1]:
        axis.set_xlabel("month")
    _name_events(axes[0, 0], max(one.month for one in results))
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def _lines(rows: Sequence[MonthResult]) -> list[NDArray[np.float64]]:
    """What the four charts show of one arm."""
    num = np.array([one.num for one in rows])
    accepted = np.array([one.num_accepted for one in rows])
    wrong = np.array([one.num_wrong for one in rows])
    return [
        100 * accepted / num,
        100 * np.cumsum(wrong) / np.cumsum(accepted),
        1e3 * np.array([one.num_keys for one in rows]) / num,
        1e3 * np.array([one.euros for one in rows]) / num,
    ]


def _name_events(axis: Axes, last_month: int) -> None:
    low, high = axis.get_ylim()
    axis.set_ylim(low - 0.3 * (high - low), high)
    for number, (month, text) in enumerate(EVENTS.items()):
        if month <= last_month:
            height = low - (0.06 + 0.08 * (number % 3)) * (high - low)
            axis.annotate(text, (month, height), fontsize=7, ha="center")
