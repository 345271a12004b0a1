"""The plant manager's page: move the error target, see keyers, misroutes and euros.

Knows nothing about how they are computed (`targets`, `keyers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from console.office import keyers, targets
from console.office.mail_days import NO_LABEL, Mail, MailReader
from console.office.targets import Figures, Plant, Target
from console.visit import Console, Refusal, Visit
from contract.costs import DEFAULT
from model.artifact import Artifact, load
from model.errors import ArtifactRefused
from pages.chart import Chart, Line

WINDOWS: Final = (7, 28)  # days; of 100,000 reads a day, 28 are about 240 MB of memory
_DEFAULT_WINDOW: Final = 28


@dataclass(frozen=True, slots=True)
class Panel:
    """What is shown of one target."""

    figures: Figures
    hours: Sequence[keyers.Hour]
    chart: Chart
    num_needed: int  # labels for an interval as wide as the target
    is_shown: bool
    is_in_force: bool

    @property
    def busiest(self) -> keyers.Hour:
        """The hour with the most keys."""
        return max(self.hours, key=lambda one: one.keys)

    @property
    def keyer_hours(self) -> float:
        """Paid hours of keying a day."""
        return self.figures.keys_a_day / DEFAULT.keys_per_hour


def plant_page(reader: MailReader) -> Callable[[Visit], Response]:
    """Make the page's handler; all visits share one reader."""

    def handler(visit: Visit) -> Response:
        num_days = _chosen(visit, "days", WINDOWS, _DEFAULT_WINDOW)
        asked = visit.request.query_params.get("target")
        artifact = _champion(visit.console)
        try:
            mail = reader.read(visit.console.archive, num_days)
        except (OSError, ValueError) as error:
            raise Refusal(503, f"The archive of captures cannot be read: {error}.") from error
        of_model = mail.of_version(artifact.version)
        shared: dict[str, Any] = {
            "version": artifact.version,
            "windows": WINDOWS,
            "num_days": num_days,
            "archive": visit.console.archive.url,
            "num_reads": len(mail.reads),
            "num_of_model": len(of_model),
            "sites": mail.sites,
            "days": mail.days,
        }
        if not len(of_model):
            return visit.page("console_plant.html", panels=[], **shared)
        found = _panels(visit.console, artifact, mail, of_model, asked)
        return visit.page("console_plant.html", **shared, **found)

    return handler


def _chosen(visit: Visit, name: str, allowed: Sequence[int], default: int) -> int:
    text = visit.request.query_params.get(name, str(default))
    if text not in map(str, allowed):
        raise Refusal(400, f"{name} is {text[:40]!r}; give one of {', '.join(map(str, allowed))}.")
    return int(text)


def _champion(console: Console) -> Artifact:
    try:
        return load(console.settings.champion)
    except ArtifactRefused as error:
        raise Refusal(503, f"The champion's table of targets cannot be read: {error}.") from error


def _panels(
    console: Console,
    artifact: Artifact,
    mail: Mail,
    of_model: NDArray[np.void],
    asked: str | None,
) -> dict[str, Any]:
    """The values of the template where there is mail of the champion."""
    table = [
        Target(float(row["error_target"]), float(row["threshold"]))
        for row in sorted(artifact.manifest["thresholds"], key=lambda row: row["error_target"])
    ]
    service = console.settings.service
    volume = _volume(mail, _today(console))
    num_marked = int((of_model["audit_probability"] > 0).sum())
    plant = Plant(
        reads_a_day=volume.reads_a_day / service.capture_sample_frac,
        audit_frac=num_marked / max(int(of_model["accepted"].sum()), 1),
    )
    policy = artifact.policy()
    found = targets.figures(of_model, table, policy.garbage_threshold, plant)
    in_force = _in_force(of_model, table)
    shown = _shown(asked, table, in_force or artifact.manifest["default_error_target"])
    is_own = volume.num_days >= keyers.MIN_DAYS
    shares = volume.hours if is_own else keyers.usual_shares()
    panels = [_panel(one, shares, shown=shown, in_force=in_force) for one in found]
    return {
        "panels": panels,
        "charts": _charts(panels),
        "plant": plant,
        "volume": volume,
        "is_own": is_own,
        "in_force": in_force,
        "threshold_in_force": float(_newest(of_model)["threshold"]),
        "costs": DEFAULT,
        "max_wait_s": keyers.MAX_WAIT_S,
        "min_days": keyers.MIN_DAYS,
        "num_held": int(of_model["is_held"].sum()),
        "num_audits": int(_is_audited(of_model).sum()),
        "num_marked": num_marked,
        "num_rejects": int((~of_model["accepted"]).sum()),
        "num_keyed": int((~of_model["accepted"] & (of_model["label"] != NO_LABEL)).sum()),
        "capture_frac": service.capture_sample_frac,
        "made": datetime.now(UTC),
        "mail_command": _audit_command(mail.days),
    }


@dataclass(frozen=True, slots=True)
class Volume:
    """How much mail comes, and when; of whole days, where there is one."""

    reads_a_day: float
    hours: Sequence[float]  # share of a day's mail in each hour, UTC
    num_days: int


def _volume(mail: Mail, today: date) -> Volume:
    whole = [day for day in mail.days if day < today] or list(mail.days)
    reads = mail.reads[np.isin(mail.reads["day"], np.array(whole, "datetime64[D]"))]
    counts = np.bincount(reads["hour"], minlength=24)
    return Volume(len(reads) / len(whole), (counts / len(reads)).tolist(), len(whole))


def _today(console: Console) -> date:
    return datetime.fromtimestamp(console.now_us() / 1e6, UTC).date()


def _newest(reads: NDArray[np.void]) -> np.void:
    of_day = reads[reads["day"] == reads["day"].max()]
    newest: np.void = of_day[np.argmax(of_day["hour"])]
    return newest


def _in_force(reads: NDArray[np.void], table: Sequence[Target]) -> float | None:
    """The target that the newest read was answered with; None where it is none of the table."""
    threshold = _newest(reads)["threshold"]
    return next((t.error_target for t in table if np.float32(t.threshold) == threshold), None)


def _shown(asked: str | None, table: Sequence[Target], otherwise: float) -> float:
    known = {f"{one.error_target:g}": one.error_target for one in table}
    if asked is None:
        return otherwise
    if asked not in known:
        raise Refusal(400, f"target is {asked[:40]!r}; the model has {', '.join(known)}.")
    return known[asked]


def _is_audited(reads: NDArray[np.void]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (reads["audit_probability"] > 0) & reads["is_audit"]
    return found


def _panel(
    figures: Figures, shares: Sequence[float], *, shown: float, in_force: float | None
) -> Panel:
    target = figures.target.error_target
    hours = keyers.plan(figures.keys_a_day, shares, DEFAULT.keys_per_hour)
    share = figures.error.value if isfinite(figures.error.value) else target
    return Panel(
        figures=figures,
        hours=hours,
        chart=_keyer_chart(hours),
        num_needed=_rounded_up(targets.labels_needed(max(share, target), target)),
        is_shown=target == shown,
        is_in_force=target == in_force,
    )


def _rounded_up(num: int) -> int:
    """To two digits: what people read as "about"."""
    unit = int(10 ** max(len(str(num)) - 2, 0))
    return -(-num // unit) * unit


def _keyer_chart(hours: Sequence[keyers.Hour]) -> Chart:
    x = [float(one.hour) for one in hours] + [24.0]
    even = [float(one.num_even) for one in hours]
    prompt = [float(one.num_prompt) for one in hours]
    lines = [
        Line("done before the next truck", x, [*even, even[-1]], is_step=True),
        Line("each key within a minute", x, [*prompt, prompt[-1]], is_step=True),
    ]
    marks = [(float(hour), f"{hour:02}:00") for hour in (0, 6, 12, 18, 24)]
    return Chart("Keyers needed in each hour (UTC)", lines, x_marks=marks)


def _charts(panels: Sequence[Panel]) -> list[Chart]:
    """Coverage and euros over the targets."""
    marks = [
        (float(place), f"{panel.figures.target.error_target:.2%}")
        for place, panel in enumerate(panels)
    ]
    x = [mark[0] for mark in marks]
    known = [one for one in zip(x, panels, strict=True) if isfinite(one[1].figures.error.value)]
    places = [one[0] for one in known]
    euros = [one[1].figures.euros_a_day for one in known]
    return [
        Chart(
            "Share accepted, by target",
            [Line("accepted", x, [one.figures.coverage for one in panels])],
            y_span=(0.0, 1.0), x_marks=marks, x_max=x[-1] or None, is_small=True,
        ),
        Chart(
            "Euros a day, by target",
            [
                Line("estimate", places, [one.value for one in euros]),
                Line("lower end", places, [one.low for one in euros], is_limit=True),
                Line("upper end", places, [one.high for one in euros], is_limit=True),
            ],
            x_marks=marks, x_max=x[-1] or None, is_small=True,
        ),
    ]  # fmt: skip


def _audit_command(days: Sequence[date]) -> str:
    return f"python -m monitoring audits --day {days[0]}..{days[-1]} > audits.csv"
