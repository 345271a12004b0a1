import re

import pytest
from jinja2 import UndefinedError

from pages.chart import Chart, Line, draw
from pages.templating import TEMPLATES, render

EVIL = '<script>alert("1")</script>'


def page(**changes):
    values = {"title": "A run", "intro": "Text", "rows": [], "charts": []}
    return render("measurement.html", **(values | changes))


def test_every_value_is_escaped():
    charts = [Chart(EVIL, [Line(EVIL, [0, 1], [1, 2])], EVIL)]
    text = page(title=EVIL, intro=EVIL, rows=[[EVIL], [EVIL]], charts=charts)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 9
    assert '"1"' not in text


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError, match="intro"):
        render("measurement.html", title="A run")


def test_a_page_loads_nothing_from_elsewhere():
    for path in TEMPLATES.iterdir():
        text = path.read_text()
        own = re.sub(
            r'<(script( type="module")? src|link rel="stylesheet" href)="/static/', "", text
        )
        own = own.replace('<link rel="icon" href="data:,">', "")  # so that no browser asks for one
        assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link", own), path.name


def test_the_stylesheet_is_inside_the_page():
    assert page().count("<style>") == 1
    assert (TEMPLATES / "style.css").read_text() in page()


def test_a_chart_keeps_its_points_inside_the_plot():
    drawing = draw(Chart("a", [Line("b", [0, 5, 10], [0, 40, 90])], is_small=True))
    frame = drawing.frame
    dots = [(float(x), float(y)) for x, y in drawing.curves[0].dots]
    assert dots[0] == (frame.left, frame.bottom)
    assert dots[-1][0] == frame.right
    assert all(frame.top <= y <= frame.bottom for _, y in dots)
    assert [mark.text for mark in drawing.y_marks] == ["0", "50", "100"]


@pytest.mark.parametrize("points", [([], []), ([1.0], [2.0]), ([0.0, 0.0], [0.0, 0.0])])
def test_a_chart_without_a_range_is_drawn(points):
    assert "<svg" in page(charts=[Chart("a", [Line("b", *points)], "min")])


def test_a_single_point_is_a_dot_because_its_path_is_invisible():
    (curve,) = draw(Chart("a", [Line("b", [1], [2])])).curves
    assert curve.path == ""
    assert len(curve.dots) == 1
