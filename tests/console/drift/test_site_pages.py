"""The pages of sites: what they say, without data too, and what they show of erased reads."""

import re

import pytest
from drift_mail import DAYS, DIRTY, SITES, TODAY

from capture.erasure import erase_from_archive, fingerprint
from capture.site_states import Change, Incident, SiteStates
from console.drift import site_pages


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
            r"<b>([\d.]+)%</b> \(([\d.]+)% to ([\d.]+)%; (\d+) audited since", of_dirty
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


def test_the_static_calendar_shows_sites(client):
    page = client.get("/reports/index.html").text
    assert f'aria-label="{DIRTY}, {DAYS[-1]}: act"' in page


def test_a_days_page_tells_what_happened_on_it(client):
    page = client.get(f"/sites/{DIRTY}/days/{DAYS[-1]}").text
    assert "rejected: low confidence" in page
    assert "Accepted, but wrong by the audit" in page


def test_a_calm_days_page_says_so(client):
    assert "no rule fired" in client.get(f"/sites/{DIRTY}/days/{DAYS[0]}").text


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


@pytest.mark.parametrize("name", ["a/b", "Köln <1>", "x%2Fy"])
def test_a_site_of_any_name_has_a_page(console, empty, name):
    SiteStates(console.settings.capture.spool / "sites").exchange(
        [Change(name, "3", 0, (), Incident("alert", 10, 10))]
    )
    page = empty.get("/sites").text
    (link,) = re.findall(r'<a href="(/sites/[^"]+)"', page)
    assert empty.get(link).status_code == 200
