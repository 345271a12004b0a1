"""Letters for the keying tests, and a client's calls."""

import io
import time

import numpy as np
from PIL import Image

from console.keying.choosing import FoundCrop, FoundLetter
from console.keying.letter_store import add_letters, writing
from serving.edge.request_id import new_request_id


def picture(value=200):
    file = io.BytesIO()
    Image.fromarray(np.full((40, 28), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def letter(digits, *, read_id=None, how="keyed", site="leeds", time_us=None, deadline_us=None):
    """A letter: digits "80?31" has one crop that is asked."""
    crops = tuple(
        FoundCrop(index, "4" if one == "?" else one, how if one == "?" else None, picture(), 28, 40)
        for index, one in enumerate(digits)
    )
    now_us = time.time_ns() // 1000 if time_us is None else time_us
    return FoundLetter(read_id or new_request_id(), site, now_us, deadline_us, crops)


def store(console, *letters):
    with writing(console) as database:
        add_letters(database, letters)
    return [one.read_id for one in letters]


class Keyer:
    """A signed-in person's calls of the keying API."""

    def __init__(self, client):
        self.client = client
        self._when_us = time.time_ns() // 1000

    def letters(self, num=10):
        answer = self.client.get(f"/keying/letters?num={num}")
        assert answer.status_code == 200, answer.text
        return answer.json()["letters"]

    def post(self, path, body):
        headers = {"x-csrf-token": self.client.csrf, "accept": "application/json"}
        return self.client.post(path, json=body, headers=headers)

    def label(self, read_id, index, label, when_us=None):
        """One label; later ones have later times."""
        self._when_us += 1
        row = {
            "read_id": read_id,
            "crop_index": index,
            "label": label,
            "when_us": when_us or self._when_us,
        }
        answer = self.post("/keying/labels", {"labels": [row]})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"][0]

    def key(self, given, label):
        """Every crop of a letter that is asked."""
        return [
            self.label(given["read_id"], crop["crop_index"], label)
            for crop in given["crops"]
            if crop["digit"] is None
        ]
