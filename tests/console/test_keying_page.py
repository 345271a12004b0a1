"""The keying operator's page in a real browser, before an office in memory."""

import time

import pytest
from fake_keying import FakeOffice, Letter
from keying_browser import chromium, serving, sign_in, wait_until

pytestmark = pytest.mark.slow
HOME_ROW = dict(zip("1234567890", "asdfghjkl;", strict=True))


def now_us():
    return time.time_ns() // 1000


def letters(num, **changes):
    """Letters of five digits; the machine has read the first two of every third."""
    made = []
    for number in range(num):
        truth = f"{10_000 + number * 7_919 % 90_000}"
        digits = [*truth[:2], None, None, None] if number % 3 == 0 else [None] * 5
        made.append(Letter(f"r{number:04d}", truth, digits, **changes))
    return made


@pytest.fixture
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def open_office(console, browser, key_of):
    """open_office(letters) -> the office, and a function that opens a person's page."""
    stack = []

    def open_one(made):
        office = FakeOffice(made, now_us)
        server = serving(console, office.pages())
        address = server.__enter__()
        stack.append(server)

        def page_of(who="anna", context=None, **options):
            context = context or browser.new_context(**options)
            page = sign_in(context, address, key_of["label"], who)
            return page

        return office, page_of

    yield open_one
    for server in stack:
        server.__exit__(None, None, None)


def shown(page):
    """The letter and crop on the screen, as (index of the crop to key, texts of the row)."""
    page.wait_for_selector("#row li.now")
    return page.eval_on_selector_all("#row li", "all => all.map(one => one.innerText.trim())")


def test_a_key_labels_the_crop_and_the_next_one_is_shown(open_office):
    office, page_of = open_office(letters(1))
    page = page_of()
    assert shown(page)[2:] == ["?", "?", "?"]
    page.keyboard.press("a")
    page.keyboard.press("2")
    page.keyboard.press("Numpad3")
    wait_until(lambda: len(office.labels()) == 3, "the labels are stored")
    assert [label for _, label in sorted(office.labels().items())] == ["1", "2", "3"]
