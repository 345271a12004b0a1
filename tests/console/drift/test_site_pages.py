"""The pages of sites: what they say, without data too, and what they show of erased reads."""

import asyncio
import re
from dataclasses import replace
from html import escape, unescape

import httpx
import pytest
from drift_mail import DAYS, DIRTY, SITES, TODAY, made

from capture import ship
from capture.erasure import erase_from_archive, fingerprint
from capture.site_states import Change, Incident, SiteStates
from capture.spool import Spool
from console.application import make_app
from console.drift import holds, site_pages
from console.drift.site_reader import SiteReader
from pages.segment import to_segment


@pytest.fixture
def client(sign_in, mail):
    return sign_in(site_pages.pages())


@pytest.fixture
def empty(sign_in):
    return sign_in(site_pages.pages())


def crops_of(page):
    return re.findall(r'src="(/site-crops/[^"]+)"', page)


def test_the_dirty_site_is_first(client):
    page = client.get("/sites").text
    assert re.findall(r'<a href="/sites/(\w+)">', page)[0] == DIRTY


def test_the_index_tells_a_sites_rejects_beside_its_own_past(client):
    page = client.get("/sites").text
    of_dirty = page[page.index(">Fano<") :]
    share, usual = map(
        float,
        re.search(r"<b>([\d.]+)%</b>; usual here ([\d.]+)%", of_dirty).groups(),
    )
    assert 15 < share < 35
    assert usual < 8


def test_the_index_tells_wrong_among_accepted_with_its_interval(client):
    page = client.get("/sites").text
    of_dirty = page[page.index(">Fano<") :]
    error, low, high, num = map(
        float,
        re.search(
            r"<b>([\d.]+)%</b> \(([\d.]+)% to ([\d.]+)%; (\d+) audited, since", of_dirty
        ).groups(),
    )
    assert low < error < high
    assert error > 5
    assert num > 50


def test_the_calendar_shows_the_dirty_days(client):
    page = client.get("/sites").text
    for day in DAYS:
        is_linked = f'href="/sites/{DIRTY}/days/{day}" title' in page
        assert is_linked == (day in DAYS[-2:])


def test_a_sites_findings_are_in_order_of_cost(client):
    page = client.get(f"/sites/{DIRTY}").text
    euros = [float(one) for one in re.findall(r"<b>([\d.]+) EUR a day</b><br>", page)]
    assert len(euros) == 2  # rejects, and wrong among accepted
    assert euros == sorted(euros, reverse=True)


def test_every_link_and_picture_of_a_site_is_there(client):
    page = client.get(f"/sites/{DIRTY}").text
    anchors = set(re.findall(r'href="#(\w+)"', page))
    assert anchors <= set(re.findall(r'id="(\w+)"', page))
    links = set(re.findall(r'href="(/(?:sites|reports)[^"#]*)"', page)) | set(crops_of(page)[:4])
    assert len(links) > 8
    passports = set(re.findall(r'href="/letters/read\?read_id=([\w-]+)"', page))
    assert passports == {crop.split("/")[3] for crop in crops_of(page)}
    assert {link: client.get(link).status_code for link in links} == dict.fromkeys(links, 200)


def test_crops_are_shown_beside_the_last_calm_day(client):
    page = client.get(f"/sites/{DIRTY}").text
    days = [one.split("/")[2] for one in crops_of(page)]
    assert {str(DAYS[-1]), str(DAYS[-3])} == set(days)


def test_a_crop_is_a_picture(client):
    answer = client.get(crops_of(client.get("/sites").text)[0])
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")


def test_an_erased_reads_picture_is_gone_at_once(client, mail):
    address = crops_of(client.get("/sites").text)[0]
    assert client.get(address).status_code == 200  # kept in memory from here on
    mail.archive.put(f"erased/{fingerprint(address.split('/')[3])}", b"", content_type="")
    assert client.get(address).status_code == 404


def test_an_erased_read_is_on_no_page(client, mail):
    page = client.get(f"/sites/{DIRTY}").text
    read_id = crops_of(page)[0].split("/")[3]
    erase_from_archive(mail.archive, read_id)
    assert read_id not in client.get(f"/sites/{DIRTY}").text


def test_an_erased_reads_picture_in_a_report_is_gone_at_once(client, mail):
    name = next(key for key in mail.reports.find(f"{DAYS[-1]}/") if key.endswith(".png"))
    assert client.get(f"/reports/{name}").status_code == 200
    start = name.split("/")[1].split("-")[0]
    read_id = next(
        one
        for of_day in mail.read_ids.values()
        for one in of_day
        if fingerprint(one).startswith(start)
    )
    mail.archive.put(f"erased/{fingerprint(read_id)}", b"", content_type="")
    assert client.get(f"/reports/{name}").status_code == 404


def test_a_report_keeps_the_policy_of_the_report_server(client):
    policy = client.get(f"/reports/{DAYS[-1]}/evidently.html").headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")


@pytest.mark.parametrize("key", ["alerts/outbox/x.json", "reference/adopted.parquet", "../x"])
def test_nothing_else_of_the_reports_store_is_served(client, mail, key):
    mail.reports.put("alerts/outbox/x.json", b"{}", content_type="")
    assert client.get(f"/reports/{key}").status_code == 404


def test_a_read_is_out_of_every_page_from_the_mark_of_its_erasure_on(client, mail):
    """Its rows are removed from the files after that, one file after the other."""
    addresses = [f"/sites/{DIRTY}", f"/sites/{DIRTY}/days/{DAYS[-1]}"]
    shown = {crop.split("/")[3] for one in addresses for crop in crops_of(client.get(one).text)}
    of_dirty = set(mail.read_ids[(DIRTY, DAYS[-1])])
    for gone in shown & of_dirty:
        mail.archive.put(f"erased/{fingerprint(gone)}", b"", content_type="text/plain")
    assert shown & of_dirty
    for one in addresses:
        assert (
            not shown & of_dirty & {crop.split("/")[3] for crop in crops_of(client.get(one).text)}
        )


def test_the_static_calendar_shows_sites(client):
    page = client.get("/reports/index.html").text
    assert f'aria-label="{DIRTY}, {DAYS[-1]}: act"' in page


def test_a_days_page_tells_what_happened_on_it(client):
    page = client.get(f"/sites/{DIRTY}/days/{DAYS[-1]}").text
    assert "rejected: low confidence" in page
    assert "Accepted, but wrong by the audit" in page


def test_a_calm_days_page_says_so(client):
    assert "no rule fired" in client.get(f"/sites/{DIRTY}/days/{DAYS[0]}").text


@pytest.mark.parametrize("path", ["index.html", "2026-01-01/index.html", "", "../x"])
def test_a_report_that_is_not_there_is_told_with_what_makes_one(empty, path):
    answer = empty.get(f"/reports/{path}")
    assert answer.status_code == 404
    if ".." not in path:
        assert "python -m monitoring report" in answer.text


@pytest.mark.parametrize("path", ["/sites/Nowhere", f"/sites/{SITES[0]}/days/{TODAY}"])
def test_what_is_not_known_is_a_404_that_says_so(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "report" in answer.text


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "2026-11-2"])
def test_a_day_that_is_none_is_refused(client, day):
    assert client.get(f"/sites/{DIRTY}/days/{day}").status_code == 404


def test_without_data_the_index_names_the_command(empty):
    page = empty.get("/sites").text
    assert "python -m monitoring report" in page
    assert "make demo" in page


def test_reads_that_came_after_the_last_report_have_a_page(client, mail):
    mail.reports.delete([f"{DAYS[-1]}/report.json"])
    page = client.get(f"/sites/{DIRTY}/days/{DAYS[-1]}").text
    assert f"python -m monitoring report --current {DAYS[-1]}" in page


def test_a_new_version_of_a_report_is_seen(client, mail):
    client.get("/sites")
    key = f"{DAYS[-1]}/report.json"
    changed = mail.reports.get(key).replace(b'"Fano"', b'"Fano 2"')
    mail.reports.put(key, changed, content_type="")
    assert ">Fano 2<" in client.get("/sites").text


def test_a_site_that_only_the_service_knows_is_shown(console, empty):
    incident = Incident("hold", 10, 10, "turned", "no_digit", 60, 0.5, 0.1)
    states = SiteStates(console.settings.capture.spool / "sites")
    states.exchange([Change("Ghent", "3", 0, (), incident)])
    assert "on hold" in empty.get("/sites").text
    assert "python -m monitoring report" in empty.get("/sites/Ghent").text


# Of a Parquet file: its end looks whole, so it is not left out as damaged.
UNREADABLE = b"PAR1no footer" + (9).to_bytes(4, "little") + b"PAR1"
ODD_NAMES = [
    "a/b", "Köln <1>", "x+y?z#", "a%2Fb", "100 %", ".", "..", "...", "../..", "x/hold", "a\\b",
    "x/days/2026-11-20", " Gent ", "/", "日本", "%25", "{{7*7}}", "\N{RIGHT-TO-LEFT MARK}a",
]  # fmt: skip


def know(console, name, status="alert"):
    SiteStates(console.settings.capture.spool / "sites").exchange(
        [Change(name, "3", 0, (), Incident(status, 10, 10))]
    )


@pytest.fixture
def visit(console, key_of):
    """visit(path, data) -> the answer; escapes are taken away once, as a server does it."""
    transport = httpx.ASGITransport(make_app(console, site_pages.pages()))
    cookies = httpx.Cookies()

    def send(path, data=None):
        async def once():
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost", cookies=cookies,
                follow_redirects=True,
            ) as client:  # fmt: skip
                answer = await client.request("GET" if data is None else "POST", path, data=data)
                cookies.update(client.cookies)
                return answer

        return asyncio.run(once())

    send("/sign-in", {"who": "anna", "key": key_of["all"]})
    send.sign_out = cookies.clear
    return send


def first_link(visit):
    return re.search(r'<h2[^>]*><a href="(/sites/[^"]+)"', visit("/sites").text).group(1)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_site_of_any_name_has_a_page_that_holds_and_releases_it(console, visit, name):
    know(console, name)
    link = first_link(visit)
    page = visit(link)
    assert f"<h1>{escape(name)} <" in page.text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text).group(1)
    (hold,) = re.findall(r'action="([^"]+/hold)"', page.text)
    done = visit(hold, {"csrf": csrf, "reason": "dust"})
    assert done.url.raw_path.decode() == link  # back to its page
    assert holds.read_states(console)[name].status == "hold"
    (release,) = re.findall(r'action="([^"]+/release)"', done.text)
    visit(release, {"csrf": csrf})
    assert holds.read_states(console)[name].status == "ok"
    assert f"<td>{escape(name)}</td>" in visit("/log").text


def test_a_site_of_an_odd_name_has_its_day_and_its_crops(console, visit):
    name, day = "a/../days/2026-11-20?", DAYS[0]
    spool = Spool(console.settings.capture.spool)
    spool.append(replace(made(SITES[0], day, 1), site=name))
    spool.close()
    ship.ship_once(console.settings.capture.spool, console.archive)
    page = visit(f"/sites/{to_segment(name)}/days/{day}")
    assert f"<h1>{escape(name)}, {day}" in page.text
    assert visit(crops_of(page.text)[0]).headers["content-type"] == "image/png"


def test_a_site_of_an_odd_name_is_still_asked_for_after_sign_in(console, visit, key_of):
    know(console, "a/b?c")
    link = first_link(visit)
    visit.sign_out()
    form = visit(link)
    assert form.url.path == "/sign-in"
    asked = unescape(re.search(r'name="next" value="([^"]*)"', form.text).group(1))
    page = visit("/sign-in", {"who": "eve", "key": key_of["review"], "next": asked})
    assert "<h1>a/b?c <" in page.text


def test_the_words_of_a_fault_say_what_the_service_has_found(console, empty):
    for name, reason in (("Gent", "turned"), ("Lille", "unknown")):
        incident = Incident("hold", 10, 10, reason)
        SiteStates(console.settings.capture.spool / "sites").exchange(
            [Change(name, "3", 0, (), incident)]
        )
    assert "its crops are turned or mirrored" in empty.get("/sites/Gent").text
    assert "it did not find out why" in empty.get("/sites/Lille").text


def test_a_file_that_cannot_be_read_is_told_without_a_traceback(client, mail):
    key = f"records/day={DAYS[-1]}/site={DIRTY}/x.parquet"
    mail.archive.put(key, UNREADABLE, content_type="")
    answer = client.get("/sites")
    assert answer.status_code == 503
    assert "log says why" in answer.text


def test_reading_ahead_leaves_a_failing_store_to_the_first_page(mail, caplog):
    key = f"records/day={DAYS[-1]}/site={DIRTY}/x.parquet"
    mail.archive.put(key, UNREADABLE, content_type="")
    SiteReader(mail.archive, mail.reports).read_ahead()
    assert "not read ahead" in caplog.text
