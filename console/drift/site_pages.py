"""The drift analyst's pages: all sites, one site, one of its days; and what can be done there."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final

from pyarrow.lib import ArrowException
from starlette.responses import RedirectResponse, Response

from capture.erasure import erased_ids
from capture.site_states import SiteState
from console import audit_log
from console.drift import holds, label_requests
from console.drift.site_charts import hours_chart, reject_chart
from console.drift.site_history import SiteHistory, histories
from console.drift.site_reader import SiteReader, cost_of, days_of, recent_days
from console.visit import Console, Page, Refusal, Visit
from contract import costs
from monitoring import page_server
from monitoring.drift_pages import site_grid
from pages.segment import from_segment, to_segment

_LAST_CROPS: Final = 4
_CROPS: Final = 8
_DAY_CROPS: Final = 16

log = logging.getLogger(__name__)
Handler = Callable[[Visit, SiteReader], Response]


def pages(console: Console | None = None) -> list[Page]:
    """The pages of the room, which share what they have read.

    Args:
        console: its last month is read now, in a thread; None: when the first page asks for it.
    """
    lock, made = threading.Lock(), list[SiteReader]()

    def reader_of(console: Console) -> SiteReader:
        with lock:
            if not made:
                made.append(SiteReader(console.archive, console.reports))
            return made[0]

    def shared(handler: Handler) -> Callable[[Visit], Response]:
        def answer(visit: Visit) -> Response:
            try:
                return handler(visit, reader_of(visit.console))
            except (OSError, ArrowException) as error:
                log.error("%s: %s", visit.request.url.path, error)  # noqa: TRY400 - no bug of ours
                raise Refusal(
                    503,
                    "The archive or the reports cannot be read now; the console's log says why. "
                    "Where a file was just merged into another, reloading is enough.",
                ) from error

        return answer

    if console is not None:
        threading.Thread(target=reader_of(console).read_ahead, daemon=True).start()

    return [
        Page("/sites", shared(_index), "review"),
        Page("/site-crops/{day}/{read_id}/{index}/{site}", shared(_crop), "review"),
        Page("/sites/{site}/days/{day}", shared(_day), "review"),
        Page("/sites/{site}/hold", shared(_hold), "admin", "POST"),
        Page("/sites/{site}/release", shared(_release), "admin", "POST"),
        Page("/sites/{site}/label", shared(_label), "admin", "POST"),
        Page("/sites/{site}", shared(_site), "review"),
        Page("/reports/{key:path}", _report, "review"),
    ]


def _index(visit: Visit, reader: SiteReader) -> Response:
    """Every site: the worst first."""
    summaries = reader.summaries()
    rows = reader.rows(summaries, holds.read_states(visit.console))
    known = histories(summaries)
    pictures = {
        row.site: reader.last(row.site, recent_days(row.history), _LAST_CROPS) for row in rows
    }
    return visit.page(
        "console_sites.html",
        rows=rows,
        pictures=pictures,
        grid=site_grid(summaries, days_of(known)),
        latest=max(days_of(known), default=None),
        costs=costs,
    )


def _site(visit: Visit, reader: SiteReader) -> Response:
    """One site: what is wrong with it, and what to do."""
    site = _site_of(visit)
    summaries, states = reader.summaries(), holds.read_states(visit.console)
    rows = reader.rows(summaries, states)
    row = next((one for one in rows if one.site == site), None)
    if row is None:
        raise Refusal(404, f"No report and no read of the site {site[:80]!r} is known.")
    history, latest = row.history, row.history.latest
    with visit.console.transaction() as database:
        requests = label_requests.asked_of(database, site)
        done = audit_log.of_subject(database, site, 10)
    beside = None if latest is None else reader.beside(history, latest.day)
    return visit.page(
        "console_site.html",
        row=row,
        latest=latest,
        since=history.named_since,
        beside=beside,
        changes=[]
        if beside is None or latest is None
        else reader.changes(site, latest.day, beside),
        fair=[] if latest is None else reader.fair(site, latest.day, _CROPS),
        reference=[]
        if beside is None or beside.day is None
        else reader.fair(site, beside.day, _CROPS),
        last=reader.last(site, recent_days(history), _CROPS),
        chart=reject_chart(history),
        progress=label_requests.progress(requests, reader.captured.labels()),
        num_asked=label_requests.NUM_ASKED,
        seen=_version(states.get(site)),
        seen_requests=len(requests),
        done=done,
        may_change=visit.may("admin"),
        breaker=visit.console.settings.service.site_breaker,
        seen_within_s=holds.SEEN_WITHIN_S,
        costs=costs,
    )


def _day(visit: Visit, reader: SiteReader) -> Response:
    """One day of a site."""
    site, day = _site_of(visit), _parse_day(visit)
    summaries = reader.summaries()
    history = histories(summaries).get(site, SiteHistory(site, ()))
    told = history.on(day)
    rows = reader.captured.brief(site, day)
    if told is None and rows.empty:
        raise Refusal(
            404,
            f"Of {site[:80]} on {day} there is neither a report nor a captured read. "
            f"`python -m monitoring report --current {day}` makes the report, where reads of the "
            "day are in the archive; reads expire after DIGITS_CAPTURE_KEEP_DAYS.",
        )
    estimate = reader.captured.estimates([day]).get(site)
    days = [one.day for one in history.days]
    return visit.page(
        "console_site_day.html",
        site=site,
        day=day,
        told=told,
        has_report=any(one["window"] == day.isoformat() for one in summaries),
        num_read=len(rows),
        reasons=rows["rejected_because"].dropna().value_counts().to_dict(),
        estimate=estimate,
        costed=cost_of(history, told, estimate),
        usual=history.until(day).usual_reject_share,
        chart=hours_chart(rows),
        fair=reader.fair(site, day, _DAY_CROPS),
        rejected=reader.rejected(site, day, _DAY_CROPS),
        wrong=reader.audited_wrong(site, day),
        before=max((one for one in days if one < day), default=None),
        after=min((one for one in days if one > day), default=None),
    )


def _crop(visit: Visit, reader: SiteReader) -> Response:
    """One picture. Whether its read was erased is looked up at each request."""
    read_id = from_segment(str(visit.request.path_params["read_id"]))
    crop = (read_id, visit.number_of("index"))
    png = reader.captured.picture(_site_of(visit), _parse_day(visit), crop)
    if png is None:
        raise Refusal(404, "This crop was erased, has expired, or was never captured.")
    return Response(png, media_type="image/png")


def _report(visit: Visit) -> Response:
    """A file of the drift reports, as `monitoring serve` answers it, but to people with a key."""
    key = visit.request.scope["path"].removeprefix("/reports/") or "index.html"
    stem, _, kind = key.rpartition("/")[2].rpartition(".")
    if kind == "png":  # named after the read's fingerprint
        start = stem.partition("-")[0]
        if any(one.startswith(start) for one in erased_ids(visit.console.archive)):
            raise Refusal(404, "The read of this picture was erased.")
    answer = page_server.answer(visit.console.reports, key)
    if answer.status_code == 404:
        raise Refusal(
            404,
            f"There is no file {key[:80]!r} among the reports. `python -m monitoring report` makes "
            "yesterday's report, `python -m monitoring watch` one each day.",
        )
    return answer


def _hold(visit: Visit, _reader: SiteReader) -> Response:
    site, reason = _known_site(visit, _reader), visit.field("reason")
    _check_seen(visit, site, _version(holds.read_states(visit.console).get(site)))
    now_us = visit.console.now_us()
    with visit.console.transaction() as database, database.begin():
        audit_log.add(database, visit.person, "hold site", site, {"reason": reason}, at_us=now_us)
        database.flush()  # nothing is held that could not be noted
        holds.hold(visit.console, site, by=visit.person.who, reason=reason, now_us=now_us)
    return _back_to(site)


def _release(visit: Visit, _reader: SiteReader) -> Response:
    site, now_us = _known_site(visit, _reader), visit.console.now_us()
    _check_seen(visit, site, _version(holds.read_states(visit.console).get(site)))
    with visit.console.transaction() as database, database.begin():
        audit_log.add(database, visit.person, "release site", site, {}, at_us=now_us)
        database.flush()
        holds.release(visit.console, site, by=visit.person.who, now_us=now_us)
    return _back_to(site)


def _label(visit: Visit, reader: SiteReader) -> Response:
    """Put a random sample of the site's recent reads into the keying queue."""
    site, now_us = _known_site(visit, reader), visit.console.now_us()
    history = histories(reader.summaries()).get(site, SiteHistory(site, ()))
    seed = secrets.randbits(32)
    with visit.console.transaction() as database, database.begin():
        label_requests.forget_erased(database, erased_ids(visit.console.archive))
        requests = label_requests.asked_of(database, site)
        _check_seen(visit, site, len(requests))
        asked = frozenset((one.read_id, one.crop_index) for one in requests)
        sample = label_requests.draw(
            reader.captured, site, recent_days(history), asked=asked, seed=seed
        )
        if sample is None:
            raise Refusal(
                409,
                f"{site} has no recent read left to label: all of the last "
                f"{label_requests.MOST_DAYS} days are asked for, labelled or in the audit.",
            )
        label_requests.add(database, site, sample, by=visit.person.who, now_us=now_us)
        details = {
            "crops": len(sample.crops),
            "of": sample.num_eligible,
            "days": [str(day) for day in sample.days],
            "seed": seed,
        }
        audit_log.add(database, visit.person, "ask for labels", site, details, at_us=now_us)
    return _back_to(site)


def _version(state: SiteState | None) -> int:
    """Of a site's incident; 0: there was none."""
    return 0 if state is None or state.incident is None else state.incident.changed_us


def _check_seen(visit: Visit, site: str, now: int) -> None:
    """Refuse a form that is sent twice, from another tab, or hours later, about what is no more.

    Raises:
        Refusal: 409. A program that does not say what it has seen is not asked.
    """
    if str(visit.sent.get("seen", now)) != str(now):
        raise Refusal(
            409, f"{site[:80]} has changed since this page was loaded; reload it and decide again."
        )


def _known_site(visit: Visit, reader: SiteReader) -> str:
    """The site of the path.

    Raises:
        Refusal: neither a report nor the service knows it.
    """
    site = _site_of(visit)
    if site not in histories(reader.summaries()) and site not in holds.read_states(visit.console):
        raise Refusal(404, f"No report and no read of the site {site[:80]!r} is known.")
    return site


def _back_to(site: str) -> Response:
    return RedirectResponse(f"/sites/{to_segment(site)}", 303)


def _site_of(visit: Visit) -> str:
    return from_segment(str(visit.request.path_params["site"]))


def _parse_day(visit: Visit) -> date:
    given = str(visit.request.path_params["day"])
    try:
        return datetime.strptime(given, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise Refusal(404, f"{given[:40]!r} is not a day; write it as 2026-11-21.") from error
