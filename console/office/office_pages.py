"""The pages of the office: /plant and /letters."""

from __future__ import annotations

from console.office.mail_days import MailReader
from console.office.plant_page import plant_page
from console.visit import Page


def pages() -> list[Page]:
    """Every page of this room."""
    return [Page("/plant", plant_page(MailReader()), "review")]
