"""A keying office in memory: the console's API with made letters, and faults on demand.

The browser tests of the page use it where they need a letter, a clock or a fault of their choice;
others run against the real office.
"""

import io
import threading
from base64 import b64encode
from dataclasses import dataclass, field
from functools import cache

from PIL import Image, ImageDraw
from starlette.responses import JSONResponse

from console.visit import Page, Refusal

LEASE_US = 60_000_000
LABELS = {*"0123456789", "not_a_digit", "unreadable", "two_digits"}


@cache
def picture_of(digit):
    picture = Image.new("L", (28, 40), 245)
    ImageDraw.Draw(picture).text((5, 3), digit, fill=30, font_size=30)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


@dataclass
class Letter:
    read_id: str
    truth: str  # what is written on it
    digits: list  # of each crop: the machine's accepted digit, or None
    codes: list | None = None
    deadline_us: int | None = None
    lease: tuple[str, int] | None = None  # who, until
    labels: dict = field(default_factory=dict)  # crop index -> (who, label, when_us)
    is_erased: bool = False

    @property
    def is_complete(self):
        return all(
            digit is not None or index in self.labels for index, digit in enumerate(self.digits)
        )


class FakeOffice:
    """The letters, who has which, and all that was posted."""

    def __init__(self, letters, now_us):
        self.letters = {one.read_id: one for one in letters}
        self.now_us = now_us
        self.lease_us = LEASE_US
        self.posted = []  # (who, read_id, crop_index, label, when_us) in order of arrival
        self.undone = []
        self.num_ahead = []  # letters that a person has, at each label, while others wait
        self._lock = threading.Lock()

    def labels(self):
        """(read_id, crop_index) -> label, of all letters."""
        return {
            (one.read_id, index): label
            for one in self.letters.values()
            for index, (_, label, _) in one.labels.items()
        }

    def has_all_back(self):
        """Nobody has a letter. One that was asked for during a release is released again."""
        with self._lock:
            return all(one.lease is None for one in self.letters.values())

    def pages(self):
        return [
            Page("/keying", lambda visit: visit.page("console_keying.html"), "label"),
            Page("/keying/letters", self._give, "label"),
            Page("/keying/labels", self._store, "label", "POST"),
            Page("/keying/undo", self._undo, "label", "POST"),
            Page("/keying/leases", self._lease, "label", "POST"),
            Page("/keying/own", self._own, "label"),
        ]

    def _is_others(self, letter, who):
        return (
            letter.lease is not None
            and letter.lease[0] != who
            and (letter.lease[1] > self.now_us())
        )

    def _give(self, visit):
        num, who = int(visit.request.query_params["num"]), visit.person.who
        with self._lock:
            open_now = [
                one
                for one in self.letters.values()
                if not one.is_complete and not one.is_erased and not self._is_others(one, who)
            ]
            now_us = self.now_us()
            held = [one for one in open_now if one.lease is not None and one.lease[0] == who]
            free = sorted(
                (one for one in open_now if one not in held),
                key=lambda one: one.deadline_us or 2**62,
            )
            given = [*held, *free][:num]
            for one in given:
                one.lease = (who, now_us + self.lease_us)
            body = [self._described(one) for one in given]
        return JSONResponse({"letters": body, "waiting": len(open_now)})

    def _described(self, letter):
        return {
            "read_id": letter.read_id,
            "crops": [
                {
                    "crop_index": index,
                    "picture": picture_of(letter.truth[index]),
                    "width": 28,
                    "height": 40,
                    "digit": digit,
                }
                for index, digit in enumerate(letter.digits)
            ],
            "codes": letter.codes,
            "lease_until_us": letter.lease[1],
            "deadline_us": letter.deadline_us,
        }

    def _store(self, visit):
        results = []
        with self._lock:
            for sent in visit.sent["labels"]:
                if sent["label"] not in LABELS:
                    raise Refusal(400, f"label is {sent['label']}")
                results.append(self._stored(visit.person.who, sent))
        return JSONResponse({"results": results})

    def _stored(self, who, sent):
        letter, index = self.letters[sent["read_id"]], sent["crop_index"]
        mine = [one for one in self.letters.values() if one.lease and not one.is_complete]
        if len(mine) < sum(not one.is_complete for one in self.letters.values()):
            self.num_ahead.append(len(mine) - 1)
        self.posted.append((who, letter.read_id, index, sent["label"], sent["when_us"]))
        reason = ""
        if self._is_others(letter, who):
            reason = "another person has this letter now"
        elif index not in letter.labels or letter.labels[index][2] < sent["when_us"]:
            letter.labels[index] = (who, sent["label"], sent["when_us"])
        status = "refused" if reason else "stored"
        return {**sent, "status": status, "reason": reason}

    def _undo(self, visit):
        letter = self.letters[visit.sent["read_id"]]
        with self._lock:
            self.undone.append(letter.read_id)
            letter.labels.clear()
            letter.lease = (visit.person.who, self.now_us() + self.lease_us)
            return JSONResponse({"letter": self._described(letter)})

    def _lease(self, visit):
        who, until_us = visit.person.who, {}
        with self._lock:
            for read_id in visit.sent["read_ids"]:
                letter = self.letters[read_id]
                if letter.lease is None or letter.lease[0] != who or letter.is_erased:
                    continue
                if visit.sent["action"] == "release":
                    letter.lease = None
                elif not letter.is_complete:
                    letter.lease = (who, self.now_us() + self.lease_us)
                    until_us[read_id] = letter.lease[1]
            asked = [*visit.sent["read_ids"], *visit.sent.get("kept", [])]
            erased = [one for one in asked if self.letters[one].is_erased]
        return JSONResponse({"until_us": until_us, "erased": erased})

    def _own(self, visit):
        num = len({row[1:3] for row in self.posted if row[0] == visit.person.who})
        return JSONResponse(
            {"num_today": num, "keys_per_hour": 6840.0, "num_checked": 48, "num_agreed": 47}
        )
