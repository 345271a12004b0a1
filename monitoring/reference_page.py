"""The page of a week that may become the reference: its sites, each with pictures of its crops.

reference/2026-11-16..2026-11-22/index.html   beside the reports, with one PNG for each crop
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from capture.archive import Window
from capture.erasure import picture_name
from capture.reference import Reference
from capture.sampling import read_pictures
from capture.store import Store
from monitoring import drift
from monitoring.drift import Unusual
from monitoring.findings import Assessment, in_words
from pages.templating import render

FOLDER: Final = "reference"
SITES_SHOWN: Final = 20
ORDINARY_PER_SITE: Final = 7
UNUSUAL_PER_SITE: Final = 4
_HTML: Final = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class SiteCrops:
    """The crops of one site that are shown: names of pictures, each with what it says below."""

    site: str
    verdict: str
    ordinary: Sequence[tuple[str, str]]
    unusual: Sequence[tuple[str, str]]


def write(
    captures: Store,
    reports: Store,
    window: Window,
    rows: pd.DataFrame,
    in_force: Reference,
    shown: Assessment,
) -> str:
    """Write the page and its pictures; returns the page's key.

    Args:
        captures: the archive.
        reports: where the page is written.
        window: the week.
        rows: of the week, as `mail_reference.read_week` gives them.
        in_force: the reference that the week was compared with.
        shown: the verdict on the week.
    """
    folder = f"{FOLDER}/{window}"
    reports.delete([key for key in reports.find(f"{folder}/") if key.endswith(".png")])
    named = [one.site for one in shown.sites if one.named]
    rest = rows["site"].value_counts().index
    order = [*named, *(site for site in rest if site not in named)][:SITES_SHOWN]
    chosen = {
        site: (_ordinary(of_site), drift.find_unusual(of_site, in_force.rows, UNUSUAL_PER_SITE))
        for site in order
        if len(of_site := rows[rows["site"] == site])
    }
    keys = [
        (one.read_id, one.crop_index)
        for ordinary, unusual in chosen.values()
        for one in (*ordinary, *unusual)
    ]
    _put_pictures(captures, reports, window, folder, keys)
    sites = [
        SiteCrops(
            site,
            _verdict_on(site, shown),
            [(picture_name(one.read_id, one.crop_index), _answer(one)) for one in ordinary],
            [(picture_name(one.read_id, one.crop_index), _feature(one)) for one in unusual],
        )
        for site, (ordinary, unusual) in chosen.items()
    ]
    page = render(
        "drift_reference.html",
        title=f"A reference of {window}?",
        window=str(window),
        state=shown.severity.name.lower(),
        against=f"mail of {in_force.days}" if in_force.days else "validation data",
        shown=shown,
        sites=sites,
        num_sites=rows["site"].nunique(),
    )
    reports.put(f"{folder}/index.html", page.encode(), content_type=_HTML)
    return f"{folder}/index.html"


def _ordinary(rows: pd.DataFrame) -> list[Unusual]:
    """A fair sample of a site's crops: those with the lowest hash."""
    chosen = rows.sort_values("sample_key").head(ORDINARY_PER_SITE)
    return [drift.described(row, feature="", strength=0.0) for _, row in chosen.iterrows()]


def _put_pictures(
    captures: Store,
    reports: Store,
    window: Window,
    folder: str,
    keys: Sequence[tuple[str, int]],
) -> None:
    if not keys:  # Arrow cannot look for none
        return
    for (read_id, crop_index), row in read_pictures(captures, window, keys).iterrows():
        png = row["crop_png"] if row["crop_png"] is not None else row["image_png"]
        if png is not None:
            name = picture_name(read_id, crop_index)
            reports.put(f"{folder}/{name}", png, content_type="image/png")


def _verdict_on(site: str, shown: Assessment) -> str:
    said = [one.text for one in shown.findings if one.site == site]
    found = [one for one in shown.sites if one.site == site]
    if not found:
        return "too little mail to be judged"
    share = f"{found[0].reject_share:.1%} of {found[0].num_records:,} rejected"
    return "; ".join([share, *said])


def _answer(one: Unusual) -> str:
    if one.digit is None:
        return "blank"
    return f"{one.digit} at {one.confidence:.0%}{'' if one.accepted else ', rejected'}"


def _feature(one: Unusual) -> str:
    return f"{_answer(one)}; {in_words(one.feature)} {one.value:.3g}"
