"""The keying operator's page in a real browser, before an office in memory."""

import re
import time

import pytest
from fake_keying import FakeOffice, Letter, picture_of
from keying_browser import chromium, serving, sign_in, wait_until

pytestmark = pytest.mark.slow
HOME_ROW = "asdfghjkl;"
DIGITS = "1234567890"
FAST_S = 0.1  # between two keys: five times as fast as 7,000 an hour


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


def single(num, **changes):
    """Letters of one crop each."""
    return [Letter(f"r{number:04d}", str(number % 10), [None], **changes) for number in range(num)]


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def open_office(console, browser, key_of):
    """open_office(letters) -> the office, and page_of(who) that opens a person's page."""
    stack, contexts = [], []

    def open_one(made):
        office = FakeOffice(made, now_us)
        server = serving(console, office.pages())
        address = server.__enter__()
        stack.append(server)

        def page_of(who="anna", *, has_clock=False, init_script="", **options):
            context = browser.new_context(**options)
            contexts.append(context)
            if has_clock:
                context.clock.install()
            context.add_init_script(init_script)
            return sign_in(context, address, key_of["label"], who)

        return office, page_of

    yield open_one
    for context in contexts:
        context.close()
    for server in stack:
        server.__exit__(None, None, None)


def answers(page):
    """What the row shows below its crops."""
    page.wait_for_selector("#row li.now")
    return page.eval_on_selector_all("#row b", "all => all.map(one => one.textContent)")


def press(page, keys):
    """Press keys one after the other, each as soon as there is a letter."""
    for key in keys:
        page.wait_for_selector("#desk:not([hidden]) .now")
        page.keyboard.press(key)


def labels_of(office, num):
    """The labels in order of their letters, when there are that many."""
    wait_until(lambda: len(office.labels()) >= num, f"{num} labels are stored")
    return [label for _, label in sorted(office.labels().items())]


@pytest.mark.parametrize(
    "row", [HOME_ROW, DIGITS, [f"Numpad{digit}" for digit in DIGITS]], ids=["home", "top", "pad"]
)
def test_each_row_of_keys_gives_the_ten_digits(open_office, row):
    office, page_of = open_office(single(10))
    press(page_of(), row)
    assert labels_of(office, 10) == list(DIGITS)


def test_a_crop_that_is_no_single_legible_digit_has_its_own_key(open_office):
    office, page_of = open_office(single(6))
    press(page_of(), ["n", "u", "t", "NumpadDivide", "NumpadMultiply", "NumpadSubtract"])
    assert labels_of(office, 6) == ["not_a_digit", "unreadable", "two_digits"] * 2


def test_only_the_crops_that_the_machine_has_not_read_are_asked(open_office):
    office, page_of = open_office(letters(1))
    page = page_of()
    assert answers(page) == ["1", "0", "?", "?", "?"]
    press(page, "345")
    assert labels_of(office, 3) == ["3", "4", "5"]
    assert {index for _, index in office.labels()} == {2, 3, 4}


def test_a_key_that_is_held_down_counts_once(open_office):
    office, page_of = open_office(single(5))
    page = page_of()
    page.wait_for_selector("#row li.now")
    for _ in range(3):
        page.keyboard.down("7")
    page.keyboard.up("7")
    press(page, "8")
    assert labels_of(office, 2) == ["7", "8"]


def test_the_last_twenty_keys_can_be_taken_back_and_no_more(open_office):
    office, page_of = open_office(single(30))
    page = page_of()
    press(page, "1" * 22)
    labels_of(office, 22)
    press(page, ["Backspace"] * 20)
    assert page.text_content("#notice") == ""
    press(page, ["Backspace"])
    assert "Nothing is left to undo" in page.text_content("#notice")
    press(page, "2" * 20)
    wait_until(lambda: labels_of(office, 22).count("2") == 20, "the corrections are stored")
    assert labels_of(office, 22) == ["1"] * 2 + ["2"] * 20


def test_taking_back_one_key_keeps_the_letters_other_labels(open_office):
    office, page_of = open_office(letters(1) + single(3)[1:])
    page = page_of()
    press(page, "345")
    labels_of(office, 3)
    press(page, ["Backspace"])
    assert answers(page)[2:] == ["3", "4", "?"]
    press(page, "9")
    wait_until(lambda: "9" in labels_of(office, 3), "the correction is stored")
    assert labels_of(office, 3) == ["3", "4", "9"]


def test_a_key_that_was_not_sent_yet_is_taken_back_without_a_trace(open_office):
    office, page_of = open_office(single(5))
    page = page_of()
    page.wait_for_selector("#row li.now")
    held = []
    page.route("**/keying/labels", lambda route: held.append(route))
    press(page, ["1"])
    wait_until(lambda: page.evaluate("1") and held, "the first key is on its way")
    press(page, ["2", "Backspace", "3"])  # they wait for the answer to the first
    held[0].abort()
    page.unroute("**/keying/labels")  # before the next try
    assert labels_of(office, 2) == ["1", "3"]
    assert [row[3] for row in office.posted if row[1] == "r0001"] == ["3"]


def test_a_digit_of_no_valid_code_must_be_pressed_twice(open_office):
    made = letters(1, codes=["10345", "10399"])
    office, page_of = open_office(made)
    page = page_of()
    page.wait_for_selector("#pad .dim")
    press(page, "7")
    assert "7 fits no valid code here" in page.text_content("#notice")
    assert answers(page)[2] == "?"
    press(page, "711")
    assert labels_of(office, 3) == ["7", "1", "1"]


def test_backspace_forgets_a_digit_that_was_pressed_once(open_office):
    _, page_of = open_office(letters(1, codes=["10345", "10399"]))
    page = page_of()
    press(page, ["7", "Backspace", "7"])
    assert answers(page)[2] == "?"


@pytest.mark.parametrize("key", ["Enter", "Space", "NumpadEnter"])
def test_one_key_takes_the_only_code_that_is_left(open_office, key):
    office, page_of = open_office(letters(1, codes=["10345", "10399"]))
    page = page_of()
    press(page, "34")
    assert "Only 10345 is left" in page.text_content("#code")
    press(page, [key])
    assert labels_of(office, 3) == ["3", "4", "5"]


def test_a_crop_cut_wrongly_ends_the_help_of_the_directory(open_office):
    _, page_of = open_office(letters(1, codes=["10345", "10399"]))
    page = page_of()
    press(page, "t")
    assert page.locator("#pad .dim").count() == 0


def test_labels_of_a_lost_connection_are_replayed_in_order_with_their_times(open_office):
    office, page_of = open_office(single(40))
    page = page_of()
    press(page, "12")
    labels_of(office, 2)
    page.context.set_offline(True)
    press(page, "3456789012")
    assert "10 labels wait in this browser" in page.text_content("#connection")
    keyed_us = page.evaluate(
        "Object.keys(localStorage).sort().map(key => JSON.parse(localStorage[key]).when_us)"
    )
    page.context.set_offline(False)
    assert labels_of(office, 12) == list("123456789012")
    assert [row[4] for row in office.posted[2:]] == keyed_us
    page.wait_for_selector("#connection:has-text('Connected')")
    assert page.evaluate("localStorage.length") == 0


def test_a_label_whose_answer_was_lost_is_sent_again_unchanged(open_office):
    office, page_of = open_office(single(20))
    page = page_of()
    page.wait_for_selector("#row li.now")
    lost = []

    def lose(route):
        route.fetch()
        lost.append(route)
        route.abort() if len(lost) == 1 else route.continue_()

    page.route("**/keying/labels", lose)
    press(page, "1")
    wait_until(lambda: page.evaluate("localStorage.length") == 0, "it is acknowledged")
    assert len(office.posted) >= 2
    assert len(set(office.posted)) == 1


def test_labels_outlive_their_page(open_office):
    office, page_of = open_office(single(20))
    page = page_of()
    page.wait_for_selector("#row li.now")
    page.route("**/keying/labels", lambda route: route.abort())
    press(page, "123")
    page.wait_for_selector("#connection:has-text('3 labels')")
    other = page.context.new_page()
    address = page.url
    page.close()
    other.goto(address)
    press(other, "4")
    assert labels_of(office, 4) == ["1", "2", "3", "4"]


def test_a_letter_whose_labels_wait_is_not_asked_again(open_office):
    office, page_of = open_office(single(3))
    page = page_of()
    page.wait_for_selector("#row li.now")
    page.context.route("**/keying/labels", lambda route: route.abort())
    press(page, "1")
    page.reload()
    page.wait_for_selector("#row li.now")
    press(page, "23")
    page.context.unroute("**/keying/labels")
    assert labels_of(office, 3) == ["1", "2", "3"]


def test_the_newest_tab_keys_and_the_older_one_stops(open_office):
    office, page_of = open_office(single(20))
    page = page_of()
    press(page, "1")
    labels_of(office, 1)
    other = page.context.new_page()
    other.goto(page.url)
    page.wait_for_selector("text=Keying goes on in another tab")
    press(other, "2")
    labels_of(office, 2)
    page.click("text=Key here")
    other.wait_for_selector("text=Keying goes on in another tab")
    press(page, "3")
    assert labels_of(office, 3) == ["1", "2", "3"]


def test_labels_of_a_session_that_ended_wait_for_the_next_sign_in(open_office, console, key_of):
    office, page_of = open_office(single(20))
    page = page_of()
    page.wait_for_selector("#row li.now")
    page.context.clear_cookies()
    press(page, "12")
    page.wait_for_selector("#sign-in:not([hidden])")
    assert "2 labels wait" in page.text_content("#connection")
    page.click("#sign-in a")
    page.fill("[name=who]", "anna")
    page.fill("[name=key]", key_of["label"])
    page.click("main button")
    assert labels_of(office, 2) == ["1", "2"]


def test_nobody_sends_another_persons_labels(open_office, key_of):
    office, page_of = open_office(single(60))
    page = page_of("ben")
    page.wait_for_selector("#row li.now")
    page.context.set_offline(True)
    press(page, "12")
    context, address = page.context, page.url.removesuffix("/keying")
    page.close()
    context.set_offline(False)
    page = sign_in(context, address, key_of["label"], "anna")
    press(page, "3")
    labels_of(office, 1)
    assert {row[0] for row in office.posted} == {"anna"}
    assert "Labels of ben wait" in page.text_content("#refused")


def test_a_label_that_is_refused_is_counted_with_its_reason(open_office):
    office, page_of = open_office(single(20))
    page = page_of()
    page.wait_for_selector("#row li.now")
    office.letters["r0000"].lease = ("ben", now_us() + 60_000_000)
    press(page, "1")
    page.wait_for_selector("text=1 label was not stored")
    assert "another person has this letter now" in page.text_content("#refused")


def test_a_label_that_the_console_cannot_read_keeps_no_other_back(open_office, browser):
    office, page_of = open_office(single(20))
    page = page_of(
        init_script="""
        const label = {kind: "label", crop_index: 0};
        ["1", "unfit", "3"].forEach((one, at) => localStorage.setItem(
            `digitline-keying:anna:${at}`,
            JSON.stringify({...label, read_id: `r000${at}`, label: one, when_us: 1 + at})));
    """
    )
    page.wait_for_selector("text=1 label was not stored")
    wait_until(lambda: page.evaluate("localStorage.length") == 0, "all are answered")
    assert sorted(office.labels()) == [("r0000", 0), ("r0002", 0)]


def test_a_letter_whose_lease_has_passed_on_leaves_the_page(open_office):
    office, page_of = open_office(letters(3))
    page = page_of(has_clock=True)
    press(page, "3")
    labels_of(office, 1)
    office.letters["r0000"].lease = ("ben", now_us() + 60_000_000)
    page.clock.fast_forward(21_000)
    page.wait_for_selector("text=The letter was taken away")
    assert answers(page) == ["?"] * 5


def test_an_erased_letter_leaves_the_page(open_office):
    office, page_of = open_office(letters(3))
    page = page_of(has_clock=True)
    page.wait_for_selector("#row li.now")
    office.letters["r0000"].is_erased = True
    page.clock.fast_forward(21_000)
    page.wait_for_selector("text=The letter was taken away")


def pictures_of(page):
    """Every picture in the page, hidden ones too."""
    return set(page.eval_on_selector_all("img", "all => all.map(one => one.src)"))


@pytest.mark.parametrize("keys", [["1"], ["1", "Escape"]], ids=["at work", "paused"])
def test_the_pictures_of_a_keyed_letter_that_is_erased_leave_the_page(open_office, keys):
    office, page_of = open_office(single(3))
    page = page_of(has_clock=True)
    press(page, keys)
    labels_of(office, 1)
    office.letters["r0000"].is_erased = True
    page.clock.fast_forward(21_000)
    wait_until(lambda: picture_of("0") not in pictures_of(page), "its picture is gone")
    if "Escape" in keys:
        page.keyboard.press("x")
    press(page, ["Backspace"])
    assert "Nothing is left to undo" in page.text_content("#notice")
    assert office.undone == []


def test_a_page_that_pauses_or_shows_no_letter_has_no_picture(open_office):
    office, page_of = open_office(single(2))
    page = page_of()
    press(page, ["1", "Escape"])
    page.wait_for_selector("text=Paused")
    assert not pictures_of(page)
    press(page, [])
    page.keyboard.press("x")
    press(page, "2")
    page.wait_for_selector("text=No letter waits")
    assert not pictures_of(page)
    labels_of(office, 2)


def test_leases_are_prolonged_while_somebody_keys(open_office):
    office, page_of = open_office(letters(3))
    page = page_of(has_clock=True)
    page.wait_for_selector("#row li.now")
    before_us = office.letters["r0000"].lease[1]
    page.clock.fast_forward(21_000)
    wait_until(lambda: office.letters["r0000"].lease[1] > before_us, "the lease is prolonged")


@pytest.mark.parametrize("key", ["5", "x"])
def test_letters_are_given_back_when_nobody_keys_and_any_key_goes_on(open_office, key):
    office, page_of = open_office(letters(3))
    page = page_of(has_clock=True)
    page.wait_for_selector("#row li.now")
    page.clock.fast_forward(91_000)
    page.wait_for_selector("text=Paused")
    wait_until(lambda: office.has_all_back(), "the letters are given back")
    page.keyboard.press(key)
    page.wait_for_selector("#row li.now")
    assert not office.posted


def test_letters_are_given_back_when_the_page_is_left(open_office):
    office, page_of = open_office(letters(3))
    page = page_of()
    page.wait_for_selector("#row li.now")
    page.goto("about:blank")
    wait_until(lambda: office.has_all_back(), "the letters are given back")


def test_ten_letters_are_ahead_at_each_key(open_office):
    office, page_of = open_office(single(120))
    page = page_of()
    page.wait_for_selector("#row li.now")
    page.evaluate("""() => {
        window.waits = 0;
        document.addEventListener("keydown", () => {
            if (!document.querySelector("#row li.now")) window.waits += 1;
        }, true);
    }""")
    for _ in range(100):
        page.keyboard.press("1")
        time.sleep(FAST_S)
    labels_of(office, 100)
    assert page.evaluate("window.waits") == 0
    assert min(office.num_ahead) >= 10


def test_a_letter_that_can_still_be_saved_overtakes_those_that_wait(open_office):
    office, page_of = open_office(single(40))
    page = page_of()
    page.wait_for_selector("#row li.now")
    urgent = Letter("urgent", "8", [None], deadline_us=now_us() + 30_000_000)
    office.letters["urgent"] = urgent
    press(page, "1" * 6)
    wait_until(lambda: urgent.lease, "the urgent letter is fetched")
    for _ in range(6):
        time.sleep(FAST_S)
        page.keyboard.press("8")
    wait_until(lambda: urgent.labels, "the urgent letter is keyed")


@pytest.mark.parametrize(
    ("left_s", "shown"), [(30, r"\d+ s"), (1_000, "1[56] min"), (9_000, "2 h (29|30) min")]
)
def test_the_time_that_is_left_is_shown(open_office, left_s, shown):
    _, page_of = open_office(single(1, deadline_us=now_us() + left_s * 1_000_000))
    page = page_of()
    page.wait_for_selector("#row li.now")
    page.wait_for_selector("#deadline:not(.over)")
    assert re.fullmatch(f"{shown} to save this letter", page.text_content("#seconds"))


def test_a_person_sees_the_own_figures(open_office):
    _, page_of = open_office(single(3))
    page = page_of()
    page.wait_for_selector("text=6,840 keys an hour, 97.9 % of 48 checked agree")


def test_without_letters_the_page_says_what_is_missing(open_office):
    _, page_of = open_office([])
    page = page_of()
    page.wait_for_selector("text=No letter waits")
    assert "DIGITS_CAPTURE_DIR" in page.text_content("#idle")


def test_a_new_letter_appears_by_itself(open_office):
    office, page_of = open_office([])
    page = page_of()
    page.wait_for_selector("text=No letter waits")
    office.letters["new"] = Letter("new", "5", [None])
    page.wait_for_selector("#row li.now")


def test_a_finger_keys_as_well(open_office):
    office, page_of = open_office(single(5))
    page = page_of(viewport={"width": 820, "height": 1180}, has_touch=True, is_mobile=True)
    page.wait_for_selector("#row li.now")
    page.tap("[data-label='4']")
    page.tap("[data-label=unreadable]")
    assert labels_of(office, 2) == ["4", "unreadable"]
    box = page.locator("[data-label='4']").bounding_box()
    assert min(box["width"], box["height"]) >= 60
    last = page.locator("[data-label=unreadable]").bounding_box()
    assert last["y"] + last["height"] <= 1180


def test_the_screens_keys_answer_to_the_keyboard(open_office):
    office, page_of = open_office(single(5))
    page = page_of()
    page.wait_for_selector("#row li.now")
    page.focus("[data-label='4']")
    page.keyboard.press("Enter")
    assert labels_of(office, 1) == ["4"]
    time.sleep(0.3)
    assert len(office.labels()) == 1


@pytest.mark.parametrize("state", ["at work", "a warning", "the only code", "offline", "paused"])
@pytest.mark.parametrize("width", [1280, 820])
def test_axe_finds_no_violation(open_office, state, width):
    from axe_playwright_python.sync_playwright import Axe

    made = letters(3, codes=None if state == "at work" else ["10345", "10399"])
    _, page_of = open_office(made)
    page = page_of(viewport={"width": width, "height": 1000}, has_touch=width == 820)
    page.wait_for_selector("#row li.now")
    if state == "offline":
        page.context.set_offline(True)
    press(page, {"a warning": "7", "the only code": "34", "offline": "3"}.get(state, ""))
    if state == "paused":
        page.keyboard.press("Escape")
    page.click("summary")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_without_javascript_the_page_says_that_it_needs_it(open_office):
    _, page_of = open_office(letters(1))
    page = page_of(java_script_enabled=False)
    page.wait_for_selector("noscript >> css=h1")
    assert page.inner_text("noscript h1") == "Keying needs JavaScript"
    assert not page.is_visible("#keying")
