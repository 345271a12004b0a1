"""The pages of the office: /plant and /letters."""

from __future__ import annotations

from console.office.letters_page import letter_page, letters_page
from console.office.mail_days import MailReader
from console.office.plant_page import plant_page
from console.office.rereading import Models
from console.visit import Page


def pages() -> list[Page]:
    """Every page of this room."""
    return [
        Page("/plant", plant_page(MailReader()), "review"),
        Page("/letters", letters_page, "review"),
        Page("/letters/read", letter_page(Models()), "review"),
    ]
