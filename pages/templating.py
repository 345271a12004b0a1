"""Template name and values -> one HTML page as text.

All values are escaped. Knows nothing about what the pages show.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pages.chart import draw
from pages.segment import to_segment

TEMPLATES = Path(__file__).parent / "templates"


def render(name: str, **values: object) -> str:
    """Fill one template. A missing value raises `jinja2.UndefinedError`."""
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "formatted": format,
        "from_json": json.loads,
        "data_uri": _data_uri,
        "drawn": draw,
        "moment": _moment,
        "segment": to_segment,
    }
    return made


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _moment(time_us: int) -> str:
    """Microseconds since 1970 as a date and time to the second, UTC."""
    return f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y-%m-%d %H:%M:%S}"
