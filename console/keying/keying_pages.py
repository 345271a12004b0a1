"""The keying pages: letters to key, their crops, and what people said of them."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import JSONResponse, Response

from capture.erasure import is_erased
from capture.spool import SpoolError
from console.keying.directory import open_codes
from console.keying.label_posts import BadLabel, parse_labels, store_labels
from console.keying.leases import lease, prolong, release
from console.keying.letter_store import drop_letters, writing
from console.keying.letters import Letter, find_letter, letter_of, picture_of, undo, waiting
from console.keying.own_figures import own_figures
from console.keying.room import KeyingRoom
from console.visit import Page, Refusal, Visit

MAX_LETTERS: Final = 20
_MAX_READ_IDS: Final = 100


def pages(room: KeyingRoom) -> list[Page]:
    """Every page of the room."""
    return [
        Page("/keying", lambda visit: visit.page("console_keying.html"), "label"),
        Page("/keying/letters", lambda visit: _letters(room, visit), "label"),
        Page("/keying/crop/{read_id}/{index:int}", _crop, "label"),
        Page("/keying/labels", lambda visit: _labels(room, visit), "label", "POST"),
        Page("/keying/undo", lambda visit: _undo(room, visit), "label", "POST"),
        Page("/keying/leases", _leases, "label", "POST"),
        Page("/keying/own", _own, "label"),
    ]


def _letters(room: KeyingRoom, visit: Visit) -> Response:
    """Lease letters to the person."""
    num, now_us = _num_of(visit), visit.console.now_us()
    with writing(visit.console) as database:
        rows = lease(database, visit.person, num, now_us)
        letters = [letter_of(database, one, visit.person.who) for one in rows]
        num_waiting = waiting(database, now_us)
    # After the transaction: an archive in S3 takes its time, and other people's labels would wait.
    gone = {one.read_id for one in letters if is_erased(visit.console.archive, one.read_id)}
    if gone:
        with writing(visit.console) as database:
            drop_letters(database, gone)
    shown = [_shown(room, one) for one in letters if one.read_id not in gone]
    return JSONResponse({"letters": shown, "waiting": num_waiting})


def _num_of(visit: Visit) -> int:
    text = visit.request.query_params.get("num", "10")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_LETTERS:
        raise Refusal(400, f"num is {text[:20]!r}; give a whole number from 1 to {MAX_LETTERS}.")
    return int(text)


def _shown(room: KeyingRoom, letter: Letter) -> dict[str, Any]:
    """A letter as the page gets it."""
    return {
        "read_id": letter.read_id,
        "crops": [
            {
                "crop_index": one.crop_index,
                "picture": f"/keying/crop/{letter.read_id}/{one.crop_index}",
                "width": one.width,
                "height": one.height,
                "digit": one.digit,
            }
            for one in letter.crops
        ],
        "codes": open_codes(room.codes, letter),
        "lease_until_us": letter.lease_until_us,
        "deadline_us": letter.deadline_us,
    }


def _crop(visit: Visit) -> Response:
    """A crop's picture."""
    read_id, index = visit.request.path_params["read_id"], visit.request.path_params["index"]
    with visit.console.transaction() as database:
        picture = picture_of(database, read_id, index)
    if picture is None or is_erased(visit.console.archive, read_id):
        raise Refusal(404, "There is no such crop; it may be erased.")
    # Never on the browser's disk; in its memory until the letter is keyed.
    return Response(picture, media_type="image/png", headers={"cache-control": "no-store"})


def _labels(room: KeyingRoom, visit: Visit) -> Response:
    """Store labels; the answer comes when they are on disk."""
    now_us = visit.console.now_us()
    try:
        sent = parse_labels(visit.sent, now_us)
        with writing(visit.console) as database:
            reasons = store_labels(database, room.write, visit.person, sent, now_us)
    except BadLabel as error:
        raise Refusal(400, f"The labels cannot be read: {error}.") from error
    except SpoolError as error:
        raise Refusal(503, f"The labels are not stored: {error}; send them again.") from error
    results = [
        {
            "read_id": one.read_id,
            "crop_index": one.crop_index,
            "status": "refused" if reason else "stored",
            "reason": reason,
        }
        for one, reason in zip(sent, reasons, strict=True)
    ]
    return JSONResponse({"results": results})


def _undo(room: KeyingRoom, visit: Visit) -> Response:
    """Give one of the person's last letters back."""
    read_id, now_us = visit.field("read_id", max_chars=255), visit.console.now_us()
    with writing(visit.console) as database:
        refused = undo(database, read_id, visit.person, now_us)
        row = find_letter(database, read_id)
        if refused or row is None or is_erased(visit.console.archive, read_id):
            raise Refusal(409, refused or "The letter is erased; there is nothing to undo.")
        letter = letter_of(database, row, visit.person.who)
    return JSONResponse({"letter": _shown(room, letter)})


def _leases(visit: Visit) -> Response:
    """Prolong leases, or give letters back."""
    read_ids, action = visit.sent.get("read_ids"), visit.sent.get("action")
    if (
        not isinstance(read_ids, list)
        or len(read_ids) > _MAX_READ_IDS
        or not all(isinstance(one, str) for one in read_ids)
    ):
        raise Refusal(400, f"read_ids is no list of at most {_MAX_READ_IDS} read ids.")
    if action not in ("prolong", "release"):
        raise Refusal(400, f"action is {str(action)[:40]!r}; give prolong or release.")
    who = visit.person.who
    with writing(visit.console) as database:
        until_us = (
            prolong(database, who, read_ids, visit.console.now_us())
            if action == "prolong"
            else release(database, who, read_ids)
        )
    return JSONResponse({"until_us": until_us})


def _own(visit: Visit) -> Response:
    """The person's own figures; nobody else's."""
    with visit.console.transaction() as database:
        figures = own_figures(database, visit.person.who, visit.console.now_us())
    return JSONResponse(
        {
            "num_today": figures.num_today,
            "keys_per_hour": figures.keys_per_hour,
            "num_checked": figures.num_checked,
            "num_agreed": figures.num_agreed,
        }
    )
