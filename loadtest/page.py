"""Charts as one HTML page without a script or a link: SVG drawn here. Pure text."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 900
HEIGHT: Final = 184
LEFT: Final = 70
BOTTOM: Final = 28
TOP: Final = 26
# As style variables, because a curve must stand out from white and from black.
COLOURS: Final = ("var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)")
_STYLE: Final = (
    ":root{color-scheme:light dark;--faint:#ddd;--text:#444;"
    "--c0:#1f6feb;--c1:#d1242f;--c2:#1a7f37;--c3:#8250df}"
    "@media(prefers-color-scheme:dark){:root{--faint:#444;--text:#bbb;"
    "--c0:#6cb0ff;--c1:#ff7b72;--c2:#56d364;--c3:#d2a8ff}}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;"
    "overflow-wrap:break-word}"
    ".wide{overflow-x:auto}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid var(--faint);"
    "padding:3px 9px;text-align:right}"
    # On a phone the charts are moved sideways, all together: their axes stay in line.
    "svg{display:block;width:100%;min-width:700px}"
    "svg text{font:12px system-ui,sans-serif;fill:var(--text)}"
    "h2{margin:1.2em 0 .2em;font-size:17px}.wide h2{position:sticky;left:0;width:fit-content}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    is_step: bool = False
    dots_only: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over one axis."""

    title: str
    lines: Sequence[Line]
    x_label: str
    x_max: float | None = None


def page(title: str, intro: str, rows: Sequence[Sequence[str]], charts: Sequence[Chart]) -> str:
    """The whole page.

    Args:
        title: heading.
        intro: a paragraph.
        rows: a table, the first row its header; may be empty.
        charts: below each other, so that charts with one x axis can be read together.
    """
    body = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(intro)}</p>", _table(rows)]
    body.append('<div class="wide">')
    body += [f"<h2>{html.escape(chart.title)}</h2>{svg(chart)}" for chart in charts]
    body.append("</div>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><body>"
        + "\n".join(body)
        + "</body></html>\n"
    )


def svg(chart: Chart) -> str:
    """One chart."""
    xs = [value for line in chart.lines for value in line.x]
    ys = [value for line in chart.lines for value in line.y]
    x_max = chart.x_max or max(xs, default=1.0) or 1.0
    y_max = nice(max(ys, default=1.0))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        _grid(x_max, y_max, chart.x_label),
    ]
    for number, line in enumerate(chart.lines):
        colour = COLOURS[number % len(COLOURS)]
        points = [(_at_x(x, x_max), _at_y(y, y_max)) for x, y in zip(line.x, line.y, strict=True)]
        is_dots = line.dots_only or len(points) == 1  # a path of one point is invisible
        parts.append(_dots(points, colour) if is_dots else _path(line, points, colour))
        parts.append(
            f'<text x="{LEFT + 8 + 170 * number}" y="{TOP - 12}" style="fill:{colour}">'
            f"{html.escape(line.label)}</text>"
        )
    return "".join([*parts, "</svg>"])


def nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten: an axis that ends on a round number."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 10.0 ** -len(f"{int(1 / value)}")
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value)


def _at_x(x: float, x_max: float) -> float:
    return LEFT + (WIDTH - LEFT - 12) * x / x_max


def _at_y(y: float, y_max: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * y / y_max


def _grid(x_max: float, y_max: float, x_label: str) -> str:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _at_y(share * y_max, y_max)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - 12}" style="stroke:var(--faint)"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * y_max:g}</text>'
        )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _at_x(share * x_max, x_max)
        label = f"{share * x_max:.4g}" + (f" {x_label}" if share == 1.0 else "")
        anchor = "end" if share == 1.0 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{label}</text>')
    return "".join(parts)


def _path(line: Line, points: Sequence[tuple[float, float]], colour: str) -> str:
    commands = []
    for number, (x, y) in enumerate(points):
        if number == 0:
            commands.append(f"M{x:.1f} {y:.1f}")
        elif line.is_step:
            commands.append(f"H{x:.1f}V{y:.1f}")
        else:
            commands.append(f"L{x:.1f} {y:.1f}")
    return f'<path d="{"".join(commands)}" fill="none" style="stroke:{colour};stroke-width:1.4"/>'


def _dots(points: Sequence[tuple[float, float]], colour: str) -> str:
    return "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" style="fill:{colour}"/>' for x, y in points
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[1:]
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
