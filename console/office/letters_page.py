"""Find a letter by an id, and show everything that is known of it.

Each look at a letter is written into the audit log: handwriting is personal data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from capture.look_up import AmbiguousId, Read, choose
from capture.one_read import Row, find_reads, is_erased, read_crops, spool_events
from console import audit_log
from console.office.letter_facts import CropLabels, drift_state, labels_of
from console.office.rereading import KnownModel, Models, Reread, reread
from console.visit import Refusal, Visit, whole_number
from model.errors import CropError, ModelError

_MAX_ID_BYTES: Final = 255
_CROPS_SHOWN: Final = 12
_STAGES: Final = ("guard", "decode", "preprocess", "queue", "inference", "decision", "total")


@dataclass(frozen=True, slots=True)
class CropView:
    """One crop of a letter."""

    row: Row
    labels: CropLabels | None
    reread: Reread | None
    problem: str  # why it was not read again


def letters_page(visit: Visit) -> Response:
    """The search; one read that is found is shown at once."""
    given = visit.request.query_params.get("id", "").strip()
    if not given:
        return visit.page("console_letters.html", given="", reads=[], message="")
    _check_id(given)
    found = _find(visit, given)
    try:
        read = choose(found, given)
    except AmbiguousId as error:
        message = f"{len(error.reads)} reads have this request id; choose one."
        return visit.page("console_letters.html", given=given, reads=error.reads, message=message)
    if read is not None:
        return RedirectResponse(f"/letters/read?{urlencode({'read_id': read.read_id})}", 303)
    return visit.page(
        "console_letters.html", status=404, given=given, reads=[], message=_not_found(visit)
    )


def letter_page(models: Models) -> Callable[[Visit], Response]:
    """Make the handler of a letter's own page; all visits share the loaded models."""

    def handler(visit: Visit) -> Response:
        given = visit.request.query_params.get("read_id", "")
        _check_id(given)
        read = choose([one for one in _find(visit, given) if one.read_id == given], given)
        if read is None:
            raise Refusal(404, _not_found(visit))
        return _show(visit, models, read)

    return handler


def _check_id(given: str) -> None:
    if not given or len(given.encode()) > _MAX_ID_BYTES or not given.isprintable():
        raise Refusal(400, f"An id has 1 to {_MAX_ID_BYTES} bytes and visible characters only.")


def _find(visit: Visit, given: str) -> list[Read]:
    console = visit.console
    try:
        if is_erased(console.archive, given):
            raise Refusal(410, "This read was erased: its pictures, answer and labels are gone.")
        return find_reads(console.archive, console.settings.capture.spool, given)
    except (OSError, ValueError) as error:
        raise Refusal(503, f"The archive of captures cannot be searched: {error}.") from error


def _not_found(visit: Visit) -> str:
    capture = visit.console.settings.capture
    return (
        f"No captured read has this id, neither in the spool {capture.spool} nor in the archive "
        f"{visit.console.archive.url}. Records expire after {capture.keep_days} days; reads are "
        "captured where the service has DIGITS_CAPTURE_DIR."
    )


def _show(visit: Visit, models: Models, read: Read) -> Response:
    console = visit.console
    spool = console.settings.capture.spool
    try:
        rows = read_crops(console.archive, spool, read)
        labels = labels_of(console.archive, spool_events(spool, read.read_id), read.read_id)
        drift = drift_state(console.reports, read.time.date(), read.site)
    except (OSError, ValueError, KeyError) as error:
        raise Refusal(503, f"What is kept of this read cannot be read: {error}.") from error
    if not rows or is_erased(console.archive, read.read_id):  # meanwhile
        raise Refusal(410, "This read was erased: its pictures, answer and labels are gone.")
    with console.transaction() as database, database.begin():
        audit_log.add(
            database, visit.person, "view letter", read.read_id, {}, at_us=console.now_us()
        )
    start = _start(visit, len(rows))
    shown = rows[start : start + _CROPS_SHOWN]
    known = models.find(console, str(rows[0]["model_version"]))
    return visit.page(
        "console_letter.html",
        read=read,
        crops=[_crop(row, labels.get(row["crop_index"]), known) for row in shown],
        num_crops=len(rows),
        starts=range(0, len(rows), _CROPS_SHOWN) if len(rows) > _CROPS_SHOWN else [],
        start=start,
        first=rows[0],
        known=None if isinstance(known, str) else known,
        missing_model=known if isinstance(known, str) else "",
        drift=drift,
        labels=labels,
        stages=_STAGES,
    )


def _start(visit: Visit, num: int) -> int:
    text = visit.request.query_params.get("start", "0")
    start = whole_number(text, num - 1)
    if start is None:
        raise Refusal(400, f"start is {text[:20]!r}; give a number below {num}, the crops.")
    return start


def _crop(row: Row, labels: CropLabels | None, known: KnownModel | str) -> CropView:
    if isinstance(known, str):
        return CropView(row, labels, None, "its model is not there")
    try:
        again = reread(row, known)
    except (CropError, ModelError) as error:
        return CropView(row, labels, None, str(error))
    return CropView(row, labels, again, "" if again else "neither its crop nor its image is kept")
