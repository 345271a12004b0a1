"""A site's history and reads -> the charts of its pages. Pure."""

from __future__ import annotations

import pandas as pd

from console.drift.site_history import SiteHistory
from pages.chart import Chart, Line


def reject_chart(history: SiteHistory) -> Chart | None:
    """The share rejected, day by day, with what is usual; None before there are two days."""
    days = [one for one in history.days if one.reject_share is not None]
    if len(days) < 2:
        return None
    first = days[0].day
    since = [float((one.day - first).days) for one in days]
    lines = [Line("rejected", since, [100 * (one.reject_share or 0.0) for one in days])]
    usual = history.usual_reject_share
    if usual is not None:
        lines.append(Line("usual", since, [100 * usual] * len(days), is_limit=True))
    marks = [(0.0, str(first)), (max(since[-1], 1.0), str(days[-1].day))]
    return Chart("Rejected, % of the day's reads", lines, x_max=max(since[-1], 1.0), x_marks=marks)


def hours_chart(rows: pd.DataFrame) -> Chart | None:
    """The share rejected in each hour of a day; None without reads."""
    if rows.empty:
        return None
    is_rejected = ~rows["accepted"].astype("boolean").fillna(False)  # noqa: FBT003 - pandas
    by_hour = is_rejected.groupby(rows["time"].dt.hour).mean()
    marks = [(float(hour), f"{hour:02d}:00") for hour in (0, 6, 12, 18)] + [(24.0, "24:00")]
    line = Line(
        "rejected",
        [float(hour) + 0.5 for hour in by_hour.index],
        [100 * float(share) for share in by_hour],
    )
    return Chart("Rejected, % of the hour's reads", [line], x_max=24.0, x_marks=marks)
