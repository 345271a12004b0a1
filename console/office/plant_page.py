"""The plant manager's page: move the error target, see keyers, misroutes and euros.

Knows nothing about how they are computed (`office_figures`, `error_targets`, `keyers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any, Final

from starlette.responses import Response

from console.office import error_targets, keyers
from console.office.error_targets import Figures
from console.office.mail_days import Mail, MailReader
from console.office.office_figures import OfficeFigures, office_figures
from console.visit import Console, Refusal, Visit
from contract.costs import DEFAULT
from model.artifact import Artifact, load
from model.errors import ArtifactRefused
from pages.chart import Chart, Line

WINDOWS: Final = (7, 28)  # days; of 100,000 reads a day, 28 are about 240 MB of memory
_DEFAULT_WINDOW: Final = 28
Values = dict[str, Any]  # of the template


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
    """Make the page's handler; all visits share one reader, and what was counted last."""
    counted: dict[tuple[int, str, date], tuple[Mail, OfficeFigures]] = {}

    def count(console: Console, artifact: Artifact, mail: Mail, num_days: int) -> OfficeFigures:
        key = (num_days, artifact.sha256, _today(console))
        last = counted.get(key)
        if last is None or last[0] is not mail:
            counted.clear()
            frac = console.settings.service.capture_sample_frac
            office = office_figures(mail, artifact, capture_frac=frac, today=key[2])
            last = counted[key] = (mail, office)
        return last[1]

    def handler(visit: Visit) -> Response:
        num_days = _chosen_days(visit)
        artifact = _champion(visit.console)
        try:
            mail = reader.read(visit.console.archive, num_days, _today(visit.console))
        except (OSError, ValueError) as error:
            raise Refusal(503, f"The archive of captures cannot be read: {error}.") from error
        values: Values = {
            "version": artifact.version, "windows": WINDOWS, "num_days": num_days,
            "archive": visit.console.archive.url, "mail": mail,
            "capture_frac": visit.console.settings.service.capture_sample_frac,
        }  # fmt: skip
        if not len(mail.of_version(artifact.version)):
            return visit.page("console_plant.html", panels=[], **values)
        office = count(visit.console, artifact, mail, num_days)
        asked = visit.request.query_params.get("target")
        values |= _values(artifact, mail, office, asked)
        return visit.page("console_plant.html", **values)

    return handler


def _today(console: Console) -> date:
    return datetime.fromtimestamp(console.now_us() / 1e6, UTC).date()


def _chosen_days(visit: Visit) -> int:
    text = visit.request.query_params.get("days", str(_DEFAULT_WINDOW))
    if text not in map(str, WINDOWS):
        raise Refusal(400, f"days is {text[:40]!r}; give {' or '.join(map(str, WINDOWS))}.")
    return int(text)


def _champion(console: Console) -> Artifact:
    try:
        return load(console.settings.champion)
    except ArtifactRefused as error:
        raise Refusal(503, f"The champion's table of targets cannot be read: {error}.") from error


def _values(artifact: Artifact, mail: Mail, office: OfficeFigures, asked: str | None) -> Values:
    """The values of the template where there is mail of the champion."""
    known = [one.target.error_target for one in office.figures]
    shown = _shown(asked, known, office.in_force or artifact.manifest["default_error_target"])
    panels = [_panel(one, office, shown) for one in office.figures]
    return {
        "panels": panels,
        "office": office,
        "charts": _charts(panels),
        "costs": DEFAULT,
        "min_days": keyers.MIN_DAYS,
        "made": datetime.now(UTC),
        "audits": f"python -m monitoring audits --day {mail.days[0]}..{mail.days[-1]}",
    }


def _shown(asked: str | None, known: Sequence[float], otherwise: float) -> float:
    by_text = {f"{one:g}": one for one in known}
    if asked is None:
        return otherwise
    if asked not in by_text:
        raise Refusal(400, f"target is {asked[:40]!r}; the model has {', '.join(by_text)}.")
    return by_text[asked]


def _panel(figures: Figures, office: OfficeFigures, shown: float) -> Panel:
    target = figures.target.error_target
    hours = keyers.plan(figures.keys_a_day, office.shares, DEFAULT.keys_per_hour)
    share = figures.error.value if isfinite(figures.error.value) else target
    return Panel(
        figures=figures,
        hours=hours,
        chart=_keyer_chart(hours),
        num_needed=_rounded_up(error_targets.labels_needed(max(share, target), target)),
        is_shown=target == shown,
        is_in_force=target == office.in_force,
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
