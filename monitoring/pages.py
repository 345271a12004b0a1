"""Report summaries -> the two pages people read: a window, and the calendar of all days.

Each page is one file without scripts or anything fetched from elsewhere, light or dark as the
reader's system is, and fits a phone. Severity is colour and shape, for those who see no red.
Pure: strings out, nothing read or written.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import date, timedelta
from html import escape
from typing import Any, Final

from capture.erasure import picture_name
from monitoring import rules
from monitoring.drift import Unusual

Summary = dict[str, Any]  # what report.json holds

MONTHS_SHOWN: Final = 3
DAYS_OF_TREND: Final = 90
REPORTS_LISTED: Final = 30
SITES_LISTED: Final = 60

_MARKS = {"calm": "●", "watch": "▲", "act": "■", "thin": "○", "none": "·"}
_WORDS = {
    "calm": "calm",
    "watch": "watch",
    "act": "act",
    "thin": "insufficient data",
    "none": "no report",
}

_STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#17202a;--soft:#5b6776;
--line:#dde2e8;--calm:#1b7f4d;--calm-bg:#d9f0e3;--watch:#9a6200;--watch-bg:#fdebc4;
--act:#b3261e;--act-bg:#fbd9d6;--thin-bg:#e7eaef;--link:#0b57b0;--plot:#2f6fb7}
@media(prefers-color-scheme:dark){:root{--page:#11151a;--card:#1a2027;--ink:#e8edf2;--soft:#9aa7b5;
--line:#2d3640;--calm:#6fd39f;--calm-bg:#17422d;--watch:#f2bd5a;--watch-bg:#4a3608;
--act:#ff9b93;--act-bg:#5c1d19;--thin-bg:#28303a;--link:#8ab8f5;--plot:#7fb0ea}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:20px 16px 48px}
a{color:var(--link)}h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.1rem;margin:0 0 10px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px;
margin-top:16px}
.soft{color:var(--soft)}.small{font-size:.85rem}
.badge{display:inline-block;padding:2px 12px;border-radius:99px;font-weight:600;white-space:nowrap}
.calm{background:var(--calm-bg);color:var(--calm)}.watch{background:var(--watch-bg);
color:var(--watch)}.act{background:var(--act-bg);color:var(--act)}
.thin,.none{background:var(--thin-bg);color:var(--soft)}
.months,.charts,.numbers{display:grid;gap:16px;
grid-template-columns:repeat(auto-fit,minmax(min(100%,280px),1fr))}
.numbers{grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px}
.number b{display:block;font-size:1.35rem;line-height:1.25}
.week{display:grid;grid-template-columns:repeat(7,1fr);gap:4px}
.week>*{aspect-ratio:1;border-radius:8px;display:flex;flex-direction:column;align-items:center;
justify-content:center;font-size:.85rem;line-height:1.1;text-decoration:none;min-width:0}
.week>span.head{aspect-ratio:auto;color:var(--soft);font-size:.75rem}
.week>span.none{background:none;color:var(--soft)}
.week>span.hole{background:none;color:var(--act);border:2px dashed var(--act)}
.week a:hover,.week a:focus{outline:2px solid var(--link)}
.legend{display:flex;flex-wrap:wrap;gap:8px 12px;margin-top:12px}
table{border-collapse:collapse;width:100%}th{text-align:left;color:var(--soft);font-weight:500;
font-size:.85rem}td,th{padding:6px 10px 6px 0;border-top:1px solid var(--line);vertical-align:top}
thead th{border-top:0}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}.day{white-space:nowrap}
@media(max-width:600px){.stack thead{display:none}.stack,.stack tbody{display:block}
.stack tr{display:grid;grid-template-columns:auto auto 1fr;gap:4px 12px;align-items:center;
padding:10px 0;border-top:1px solid var(--line)}.stack td{border:0;padding:0;text-align:left}
.stack td.text{order:1;grid-column:1/-1}
.wide{display:none}.stack td[data-name]::before{content:attr(data-name) " ";color:var(--soft)}}
.bar{height:10px;border-radius:5px;background:var(--thin-bg);position:relative;min-width:90px;
margin-top:7px}.bar i{position:absolute;inset:0 auto 0 0;border-radius:5px;background:var(--plot)}
.bar.over i{background:var(--watch)}.bar u{position:absolute;top:-3px;bottom:-3px;width:2px;
background:var(--soft)}
.crops{display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax(120px,1fr))}
figure{margin:0}
figure .pic{background:repeating-conic-gradient(#8883 0 25%,#0000 0 50%) 0/16px 16px;
border:1px solid var(--line);border-radius:8px;height:110px;display:flex;align-items:center;
justify-content:center;overflow:hidden}
figure img{width:100px;height:100px;object-fit:contain;image-rendering:pixelated}
figcaption{font-size:.78rem;line-height:1.35;margin-top:4px;overflow-wrap:anywhere}
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:11px}
"""


def calendar_page(summaries: Sequence[Summary], *, today: date) -> str:
    """The page people open every week: the state now, three months of days, trends, reports."""
    days = [one for one in summaries if one["first"] == one["last"]]
    by_day = {date.fromisoformat(one["first"]): one for one in days}
    latest = summaries[-1] if summaries else None
    return _page(
        "Digitline drift",
        f"<h1>Digitline drift</h1>{_headline(latest, today)}"
        f'<section class="card"><h2>Days</h2>{_months(by_day, today)}{_legend()}</section>'
        f'<section class="card"><h2>Trends</h2>{_trends(days, today)}</section>'
        f'<section class="card"><h2>Reports</h2>{_report_list(summaries)}</section>',
    )


def window_page(summary: Summary, unusual: Sequence[Unusual]) -> str:
    """One window: the verdict, why, what to do, each feature, each site, the oddest crops."""
    window = escape(summary["window"])
    head = (
        f'<p class="small"><a href="../index.html">All days</a></p><h1>{window}</h1>'
        f"<p>{_badge(state_of(summary))} {escape(_sentence(summary))}</p>"
    )
    if not summary["enough"]:
        return _page(f"Drift {window}", head)
    return _page(
        f"Drift {window}",
        head
        + f"<p><b>What to do:</b> {escape(summary['to_do'])}</p>"
        + f'<section class="card">{_numbers(summary)}</section>'
        + f'<section class="card"><h2>Findings</h2>{_findings(summary)}</section>'
        + f'<section class="card"><h2>Unusual crops</h2>{_crops(unusual)}</section>'
        + f'<section class="card"><h2>Sites</h2>{_sites(summary)}</section>'
        + f'<section class="card"><h2>Features</h2>{_distances(summary)}</section>'
        + f'<section class="card"><h2>In depth</h2>{_links(summary)}</section>',
    )


def state_of(summary: Summary) -> str:
    """One of calm, watch, act, thin."""
    if not summary["enough"]:
        return "thin"
    return ("calm", "watch", "act")[summary["severity"]]


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def _badge(state: str) -> str:
    return f'<span class="badge {state}">{_MARKS[state]} {_WORDS[state]}</span>'


def _sentence(summary: Summary) -> str:
    if not summary["enough"]:
        return (
            f"{summary['num_records']} records; at least {rules.MIN_RECORDS} are needed to tell "
            "drift from chance."
        )
    if not summary["findings"]:
        return "Nothing stands out."
    more = len(summary["findings"]) - 1
    text = str(summary["findings"][0]["text"])
    return f"{text[0].upper()}{text[1:]}{f', and {more} more' if more else ''}."


def _headline(latest: Summary | None, today: date) -> str:
    if latest is None:
        return "<p>No report yet. Run <code>python -m monitoring report</code>.</p>"
    age = (today - date.fromisoformat(latest["last"])).days
    late = f' <span class="badge act">■ {age} days old</span>' if age > 1 else ""
    window = escape(latest["window"])
    return (
        f'<p>{_badge(state_of(latest))} <a href="{window}/index.html">{window}</a>: '
        f"{escape(_sentence(latest))}{late}</p>"
    )


def _months(by_day: dict[date, Summary], today: date) -> str:
    begun = min(by_day, default=today)
    months = [today.replace(day=1)]
    while len(months) < MONTHS_SHOWN and begun < months[-1]:
        months.append((months[-1] - timedelta(1)).replace(day=1))
    return f'<div class="months">{"".join(_month(m, by_day, begun, today) for m in months)}</div>'


def _month(month: date, by_day: dict[date, Summary], begun: date, today: date) -> str:
    head = "".join(f'<span class="head">{name}</span>' for name in "MTWTFSS")
    lead = "<span></span>" * month.weekday()
    num_days = calendar.monthrange(month.year, month.month)[1]
    cells = []
    for number in range(1, num_days + 1):
        day = month.replace(day=number)
        if day in by_day:
            cells.append(_day(day, by_day[day]))
        else:
            kind = "hole" if begun < day < today else "none"
            title = "no report" if kind == "hole" else ""
            cells.append(f'<span class="{kind}" title="{title}">{number}</span>')
    name = f"{calendar.month_name[month.month]} {month.year}"
    grid = f'<div class="week">{head}{lead}{"".join(cells)}</div>'
    return f'<div><p class="soft small">{name}</p>{grid}</div>'


def _day(day: date, summary: Summary) -> str:
    state = state_of(summary)
    title = escape(f"{day}: {_WORDS[state]}. {_sentence(summary)}", quote=True)
    return (
        f'<a class="{state}" href="{day}/index.html" title="{title}" aria-label="{title}">'
        f"{day.day}<small>{_MARKS[state]}</small></a>"
    )


def _legend() -> str:
    shown = ("calm", "watch", "act", "thin")
    return (
        f'<div class="legend small">{"".join(_badge(state) for state in shown)}'
        '<span class="soft">dashed: the report is missing</span></div>'
    )


def _trends(days: Sequence[Summary], today: date) -> str:
    begin = today - timedelta(DAYS_OF_TREND)
    recent = [one for one in days if date.fromisoformat(one["first"]) >= begin]
    full = [one for one in recent if one["enough"]]
    if len(full) < 2:
        return '<p class="soft">Trends appear after two days with enough records.</p>'
    charts = [
        _chart(
            "Rejected",
            full,
            [_percent(one["reject_share"]) for one in full],
            "%",
            [_percent(one["expected_reject_share"]) for one in full],
            "expected",
        ),
        _chart(
            "Largest distance",
            full,
            [max(one["distances"].values(), default=0) for one in full],
            "",
            [rules.DISTANCE_LIMIT] * len(full),
            "limit",
        ),
        _chart("Records", full, [one["num_stored"] for one in full], "", None, ""),
        _chart("Slowest 1 %", full, [one["p99_ms"] or 0 for one in full], " ms", None, ""),
    ]
    labelled = [one for one in full if one["accuracy"] is not None]
    if len(labelled) > 1:
        right = [_percent(one["accuracy"]) for one in labelled]
        shortfall = max(100 - min(right), 0.5)
        name = "Accuracy of labelled accepted reads"
        lowest = 100 - 2 * shortfall  # from 0, a fall of a point would not be seen
        charts.append(_chart(name, labelled, right, "%", None, "", span=(lowest, 100.0)))
    return f'<div class="charts">{"".join(charts)}</div>'


def _percent(share: float | None) -> float:
    return 100 * (share or 0.0)


def _chart(
    name: str,
    days: Sequence[Summary],
    values: Sequence[float],
    unit: str,
    line: Sequence[float] | None,
    line_name: str,
    *,
    span: tuple[float, float] | None = None,
) -> str:
    """A line over days, and a dashed one to judge it by; from 0 where no span is given."""
    width, height, left, right, bottom, top = 320, 130, 40, 8, 20, 12
    first = date.fromisoformat(days[0]["first"])
    num_days = max((date.fromisoformat(days[-1]["first"]) - first).days, 1)
    low, high = span or (0.0, max([*values, *(line or ())]) * 1.1 or 1.0)

    def place(day: Summary, value: float) -> str:
        since = (date.fromisoformat(day["first"]) - first).days
        x = left + since / num_days * (width - left - right)
        y = top + (high - value) / (high - low) * (height - top - bottom)
        return f"{x:.1f},{y:.1f}"

    points = [place(day, value) for day, value in zip(days, values, strict=True)]
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="2.2" fill="var(--plot)"/>'
        for x, y in (point.split(",") for point in points)
    )
    dashed = ""
    if line is not None:
        marks = " ".join(place(day, value) for day, value in zip(days, line, strict=True))
        dashed = (
            f'<polyline points="{marks}" fill="none" stroke="var(--watch)" stroke-dasharray="5 4"/>'
        )
    aside = f" ({line_name} {line[-1]:.3g}{unit})" if line is not None else ""
    return (
        f'<figure><b>{escape(name)}</b> <span class="soft">{values[-1]:,.4g}{unit}{aside}</span>'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)} by day">'
        f'<line x1="{left}" y1="{height - bottom}" x2="{width - right}" y2="{height - bottom}" '
        f'stroke="var(--line)"/>'
        f'<text x="{left - 6}" y="{top + 4}" text-anchor="end">{_short(high)}</text>'
        f'<text x="{left - 6}" y="{height - bottom}" text-anchor="end">{_short(low)}</text>'
        f'{dashed}<polyline points="{" ".join(points)}" fill="none" '
        f'stroke="var(--plot)" stroke-width="2"/>{dots}'
        f'<text x="{left}" y="{height - 5}">{days[0]["first"]}</text>'
        f'<text x="{width - right}" y="{height - 5}" text-anchor="end">{days[-1]["first"]}</text>'
        "</svg></figure>"
    )


def _short(value: float) -> str:
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{mark}"
    return f"{value:.3g}"


def _report_list(summaries: Sequence[Summary]) -> str:
    rows = [
        f'<tr><td class="day"><a href="{escape(one["window"])}/index.html">'
        f"{escape(one['window'])}</a></td><td>{_badge(state_of(one))}</td>"
        f'<td class="text">{escape(_sentence(one))}</td></tr>'
        for one in list(reversed(summaries))[:REPORTS_LISTED]
    ]
    if not rows:
        return '<p class="soft">None yet.</p>'
    return f'<table class="stack">{"".join(rows)}</table>'


def _numbers(summary: Summary) -> str:
    shown = [
        (f"{summary['num_stored']:,}", f"records stored, {summary['num_records']:,} looked at"),
        (
            f"{_percent(summary['reject_share']):.2f} %",
            f"rejected; {_percent(summary['expected_reject_share']):.2f} % expected",
        ),
        (f"{summary['p99_ms']:.1f} ms", f"slowest 1 %; at most {rules.P99_LIMIT_MS:.0f} ms"),
        (str(len(summary["sites"])), f"sites with {rules.MIN_SITE_RECORDS} records or more"),
        (
            ", ".join(map(escape, summary["model_versions"])),
            f"model version; reference of {escape(summary['reference_version'])}",
        ),
    ]
    if summary["accuracy"] is not None:
        accuracy = f"{_percent(summary['accuracy']):.2f} %"
        text = f"right, of {summary['num_labels']:,} labelled accepted reads"
        if summary.get("mean_confidence") is not None:  # older reports did not note it
            text += f"; mean confidence {_percent(summary['mean_confidence']):.2f} %"
        shown.append((accuracy, text))
    return (
        '<div class="numbers">'
        + "".join(
            f'<div class="number"><b>{value}</b><span class="soft small">{text}</span></div>'
            for value, text in shown
        )
        + "</div>"
    )


def _findings(summary: Summary) -> str:
    if not summary["findings"]:
        return "<p>None: every rule is within its limit.</p>"
    rows = "".join(
        f"<tr><td>{_badge(('calm', 'watch', 'act')[one['severity']])}</td>"
        f'<td class="text">{escape(one["text"][0].upper() + one["text"][1:])}</td>'
        f'<td class="n" data-name="value">{one["value"]:.3g}</td>'
        f'<td class="n" data-name="limit">{one["limit"]:.3g}</td></tr>'
        for one in summary["findings"]
    )
    return (
        '<table class="stack"><thead><tr><th></th><th>Finding</th><th class="n">Value</th>'
        f'<th class="n">Limit</th></tr></thead>{rows}</table>'
    )


def _crops(unusual: Sequence[Unusual]) -> str:
    if not unusual:
        return '<p class="soft">None.</p>'
    figures = "".join(map(_figure, unusual))
    return (
        '<p class="soft small">Farthest from the reference, with the feature each stands out in.'
        f'</p><div class="crops">{figures}</div>'
    )


def _figure(one: Unusual) -> str:
    name = picture_name(one.request_id, one.crop_index)
    return (
        f'<figure><div class="pic"><img src="{name}" alt="crop, erased or not kept" loading="lazy">'
        f"</div><figcaption>{escape(_answer(one))}<br>"
        f'<span class="soft">{escape(one.site)}: {escape(rules.in_words(one.feature))} '
        f"{one.value:.3g}</span></figcaption></figure>"
    )


def _answer(one: Unusual) -> str:
    if one.digit is None:
        return "blank"
    return f"{one.digit} at {one.confidence:.0%}{'' if one.accepted else ', rejected'}"


def _sites(summary: Summary) -> str:
    if not summary["sites"]:
        return f'<p class="soft">No site has {rules.MIN_SITE_RECORDS} records.</p>'
    badges = ("", _badge("watch"), _badge("act"))  # by severity
    worst = {one["site"]: 0 for one in summary["sites"]}
    for finding in summary["findings"]:
        if finding["site"] in worst:
            worst[finding["site"]] = max(worst[finding["site"]], finding["severity"])
    ordered = sorted(
        summary["sites"],
        key=lambda one: (-worst[one["site"]], -one["reject_share"], -one["distance"]),
    )
    rows = "".join(
        f"<tr><td>{escape(one['site'])} {badges[worst[one['site']]]}</td>"
        f'<td class="n wide">{one["num_records"]:,}</td>'
        f'<td class="n">{_percent(one["reject_share"]):.1f} %</td>'
        f'<td class="n">{one["distance"]:.2f}</td>'
        f"<td>{escape(rules.in_words(one['feature']))}</td></tr>"
        for one in ordered[:SITES_LISTED]
    )
    return (
        '<div class="scroll"><table><thead><tr><th>Site</th><th class="n wide">Records</th>'
        '<th class="n">Rejected</th><th class="n">Distance</th><th>in</th></tr></thead>'
        f"{rows}</table></div>"
        f'<p class="soft small">Distance from the other sites, in standard deviations; named above '
        f"{rules.SITE_DISTANCE_LIMIT}.</p>"
    )


def _distances(summary: Summary) -> str:
    most = max([*summary["distances"].values(), 2 * rules.DISTANCE_LIMIT])
    limit = 100 * rules.DISTANCE_LIMIT / most
    rows = "".join(
        f"<tr><td>{escape(rules.in_words(name))}</td>"
        f'<td style="width:50%"><div class="bar{" over" if value > rules.DISTANCE_LIMIT else ""}">'
        f'<i style="width:{100 * value / most:.1f}%"></i><u style="left:{limit:.1f}%"></u></div>'
        f'</td><td class="n">{value:.2f}</td></tr>'
        for name, value in sorted(summary["distances"].items(), key=lambda item: -item[1])
    )
    return (
        f"<table>{rows}</table>"
        '<p class="soft small">Wasserstein distance from the champion\'s reference, in its '
        f"standard deviations. The line is the limit, {rules.DISTANCE_LIMIT}.</p>"
    )


def _links(summary: Summary) -> str:
    labelled = (
        ' · <a href="labelled.html">Accuracy where labels arrived</a>'
        if summary["num_labels"] >= rules.MIN_LABELS
        else ""
    )
    return (
        '<p><a href="evidently.html">Evidently report</a>'
        f'{labelled} · <a href="report.json">report.json</a> · '
        '<a href="evidently.json">evidently.json</a></p>'
    )
