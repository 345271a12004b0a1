"""Curves over one x axis -> the coordinates of an SVG, which `templates/chart.html` draws. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NUM_COLOURS: Final = 4  # style.css has as many


@dataclass(frozen=True, slots=True)
class Line:
    """One curve."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    is_step: bool = False
    dots_only: bool = False
    is_limit: bool = False  # dashed


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over one x axis. A small chart fits beside others and has a dot for each value."""

    title: str
    lines: Sequence[Line]
    x_label: str = ""
    x_max: float | None = None
    y_span: tuple[float, float] | None = None  # from 0 to a round number when None
    x_marks: Sequence[tuple[float, str]] | None = None  # at each quarter of the axis when None
    is_small: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """Size of the picture and position of the plot in it, px."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


_WIDE: Final = Frame(width=900, height=170, left=58, right=888, top=12, bottom=142)
_SMALL: Final = Frame(width=320, height=130, left=40, right=312, top=12, bottom=108)


@dataclass(frozen=True, slots=True)
class Mark:
    """A number beside an axis."""

    at: float
    text: str
    anchor: str  # as SVG's text-anchor


@dataclass(frozen=True, slots=True)
class Curve:
    """One line as SVG."""

    style: str  # class of style.css
    path: str
    dots: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything that the template draws."""

    frame: Frame
    x_marks: Sequence[Mark]
    y_marks: Sequence[Mark]
    curves: Sequence[Curve]


def draw(chart: Chart) -> Drawing:
    """Compute the positions of a chart's curves and axis labels."""
    frame = _SMALL if chart.is_small else _WIDE
    xs = [value for line in chart.lines for value in line.x]
    ys = [value for line in chart.lines for value in line.y]
    x_max = chart.x_max or max(xs, default=1.0) or 1.0
    low, high = chart.y_span or (0.0, nice(max(ys, default=1.0)))

    def at_x(x: float) -> float:
        return frame.left + (frame.right - frame.left) * x / x_max

    def at_y(y: float) -> float:
        return frame.bottom - (frame.bottom - frame.top) * (y - low) / (high - low)

    curves = []
    for number, line in enumerate(chart.lines):
        points = [(f"{at_x(x):.1f}", f"{at_y(y):.1f}") for x, y in zip(line.x, line.y, strict=True)]
        is_dots = line.dots_only or len(points) == 1  # a path of one point is invisible
        has_dots = is_dots or (chart.is_small and not line.is_limit)
        curves.append(
            Curve(
                style="limit" if line.is_limit else f"c{number % NUM_COLOURS}",
                path="" if is_dots else _path(points, is_step=line.is_step),
                dots=points if has_dots else (),
            )
        )
    y_values = [low + share * (high - low) for share in (0.0, 0.5, 1.0)]
    return Drawing(
        frame=frame,
        x_marks=[
            Mark(round(at_x(x), 1), text, "end" if x == x_max else "middle" if x else "start")
            for x, text in chart.x_marks or _quarters(x_max, chart.x_label)
        ],
        y_marks=[Mark(round(at_y(y), 1), _short(y), "end") for y in y_values],
        curves=curves,
    )


def _path(points: Sequence[tuple[str, str]], *, is_step: bool) -> str:
    if not points:
        return ""
    (x, y), *rest = points
    return f"M{x} {y}" + "".join(f"H{x}V{y}" if is_step else f"L{x} {y}" for x, y in rest)


def _quarters(x_max: float, label: str) -> list[tuple[float, str]]:
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    texts = [f"{share * x_max:.4g}" for share in shares]
    texts[-1] = f"{texts[-1]} {label}"
    return [(share * x_max, text) for share, text in zip(shares, texts, strict=True)]


def nice(value: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten, for the end of an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 10.0 ** -len(f"{int(1 / value)}")
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value)


def _short(value: float) -> str:
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{mark}"
    return f"{value:.3g}"
