"""The keying pages: letters to key, their crops, and what people said of them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from capture.erasure import is_erased
from capture.spool import SpoolError
from console.keying.directory import open_codes
from console.keying.label_posts import BadLabel, Post, parse_labels
from console.keying.leases import lease, prolong, release
from console.keying.letter_store import drop_letters, writing
from console.keying.letters import Letter, letters_of, undo, waiting
from console.keying.own_figures import own_figures
from console.keying.room import KeyingRoom
from console.visit import Page, Refusal, Visit, whole_number

MAX_LETTERS: Final = 20
_MAX_READ_IDS: Final = 100


def pages(room: KeyingRoom) -> list[Page]:
    """Every page of the room."""
    return [
        Page("/keying", lambda visit: visit.page("console_keying.html"), "label"),
        Page("/keying/letters", lambda visit: _letters(room, visit), "label"),
        Page("/keying/labels", lambda visit: _labels(room, visit), "label", "POST"),
        Page("/keying/undo", lambda visit: _undo(room, visit), "label", "POST"),
        Page("/keying/leases", _leases, "label", "POST"),
        Page("/keying/own", _own, "label"),
    ]


def _letters(room: KeyingRoom, visit: Visit) -> Response:
    """Lease letters to the person; those that the page has are not sent again."""
    num, now_us = _num_of(visit), visit.console.now_us()
    has = set(visit.request.query_params.get("has", "").split(","))
    with writing(visit.console) as database:
        leased = [one.read_id for one in lease(database, visit.person, num, now_us)]
    new = [one for one in leased if one not in has]
    with visit.console.transaction() as database:
        letters = letters_of(database, new, visit.person.who)
        num_waiting = waiting(database, now_us)
    gone = {one.read_id for one in letters if is_erased(visit.console.archive, one.read_id)}
    if gone:
        with writing(visit.console) as database:
            drop_letters(database, gone)
    shown = [_shown(room, one) for one in letters if one.read_id not in gone]
    return JSONResponse({"letters": shown, "waiting": num_waiting})


def _num_of(visit: Visit) -> int:
    text = visit.request.query_params.get("num", "10")
    num = whole_number(text, MAX_LETTERS)
    if not num:
        raise Refusal(400, f"num is {text[:20]!r}; give a whole number from 1 to {MAX_LETTERS}.")
    return num


def _shown(room: KeyingRoom, letter: Letter) -> dict[str, Any]:
    """A letter as the page gets it."""
    return {
        "read_id": letter.read_id,
        "crops": [
            {
                "crop_index": one.crop_index,
                # With its letter: a request of its own costs as much as a label.
                "picture": f"data:image/png;base64,{b64encode(one.picture).decode()}",
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


def _labels(room: KeyingRoom, visit: Visit) -> Response:
    """Store labels; the answer comes when they are on disk."""
    now_us = visit.console.now_us()
    try:
        sent = parse_labels(visit.sent, now_us)
        reasons = room.posts.store(Post(visit.person, sent, now_us))
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
        if refused or is_erased(visit.console.archive, read_id):
            raise Refusal(409, refused or "The letter is erased; there is nothing to undo.")
        (letter,) = letters_of(database, [read_id], visit.person.who)
    return JSONResponse({"letter": _shown(room, letter)})


def _leases(visit: Visit) -> Response:
    """Prolong leases, or give letters back; names the letters that are erased.

    `kept` are letters that the person has keyed and whose pictures the page still has.
    """
    sent, action = visit.sent, visit.sent.get("action")
    read_ids, kept = _ids(sent.get("read_ids"), "read_ids"), _ids(sent.get("kept", []), "kept")
    if action not in ("prolong", "release"):
        raise Refusal(400, f"action is {str(action)[:40]!r}; give prolong or release.")
    who, archive = visit.person.who, visit.console.archive
    erased = [one for one in dict.fromkeys([*read_ids, *kept]) if is_erased(archive, one)]
    with writing(visit.console) as database:
        drop_letters(database, erased)
        until_us = (
            prolong(database, who, read_ids, visit.console.now_us())
            if action == "prolong"
            else release(database, who, read_ids)
        )
    return JSONResponse({"until_us": until_us, "erased": erased})


def _ids(given: object, name: str) -> list[str]:
    if (
        not isinstance(given, list)
        or len(given) > _MAX_READ_IDS
        or not all(isinstance(one, str) for one in given)
    ):
        raise Refusal(400, f"{name} is no list of at most {_MAX_READ_IDS} read ids.")
    return given


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
