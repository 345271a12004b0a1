"""A table and charts as one HTML page. Pure: text out."""

from collections.abc import Sequence

from pages.chart import Chart, Line, nice
from pages.templating import render

__all__ = ["Chart", "Line", "nice", "page"]


def page(title: str, intro: str, rows: Sequence[Sequence[str]], charts: Sequence[Chart]) -> str:
    """Render the page.

    Args:
        title: heading.
        intro: a paragraph.
        rows: a table, the first row its header; may be empty.
        charts: one below the other, so that their shared x axis lines up.
    """
    return render("measurement.html", title=title, intro=intro, rows=rows, charts=charts)
