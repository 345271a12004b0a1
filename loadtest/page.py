"""Charts and a table as one HTML page. Pure text."""

from collections.abc import Sequence

from pages.chart import Chart, Line, nice
from pages.render import render

__all__ = ["Chart", "Line", "nice", "page"]


def page(title: str, intro: str, rows: Sequence[Sequence[str]], charts: Sequence[Chart]) -> str:
    """The whole page.

    Args:
        title: heading.
        intro: a paragraph.
        rows: a table, the first row its header; may be empty.
        charts: below each other, so that charts with one x axis can be read together.
    """
    return render("measurement.html", title=title, intro=intro, rows=rows, charts=charts)
