"""The files of the page /. That it works in a browser: tests/serving/test_tryit_browser.py."""

import re

import pytest
from asgi import Client

from serving.api.tryit import FOLDER, STYLESHEET, load_tryit
from serving.config import ConfigError

PATHS = {
    "/": "text/html; charset=utf-8",
    "/tryit/tryit.js": "text/javascript; charset=utf-8",
    "/tryit/style.css": "text/css; charset=utf-8",
}
MAX_BYTES = 50_000  # of the whole page


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_has_its_type_and_a_policy_without_exceptions(client, path):
    reply = await client.get(path)
    assert (reply.status, reply.headers["content-type"]) == (200, PATHS[path])
    policy = dict(
        part.split(maxsplit=1) for part in reply.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_all_files_of_the_page_together_are_small(client):
    sizes = {path: len((await client.get(path)).body) for path in PATHS}
    assert sum(sizes.values()) < MAX_BYTES, sizes


async def test_the_page_loads_its_own_files_and_nothing_else(client):
    page = (await client.get("/")).body.decode()
    loaded = set(re.findall(r'(?:src|href)="([^"]*)"', page))
    assert {one for one in loaded if not one.startswith("data:")} == {
        "/", "/docs", "/tryit/tryit.js", "/tryit/style.css",
    }  # fmt: skip
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", page)
    script = (await client.get("/tryit/tryit.js")).body.decode()
    assert "http" not in script.replace("https", "http").replace("location.origin", "")


async def test_the_stylesheet_is_the_one_of_all_pages(client):
    assert (await client.get("/tryit/style.css")).body == STYLESHEET.read_bytes()


async def test_every_shipped_crop_is_on_the_page_and_is_read(client: Client):
    page = (await client.get("/")).body.decode()
    names = [file.name for file in sorted((FOLDER / "crops").iterdir())]
    assert re.findall(r'data-file="([^"]*)"', page) == [*names, "28195.png"]
    for name in names:
        reply = await client.post("/v1/explain", (FOLDER / "crops" / name).read_bytes())
        assert reply.status == 200
    field = (FOLDER / "fields" / "28195.png").read_bytes()
    assert (await client.post("/v1/explain?digits=4-10", field)).status == 200


def test_the_shipped_crops_are_those_that_the_curl_line_names(crops):
    known = {crop.name: crop.png for crop in crops}
    for file in (FOLDER / "crops").iterdir():
        assert file.read_bytes() == known[file.name]


async def test_a_client_that_has_the_page_gets_304(client):
    tag = (await client.get("/")).headers["etag"]
    assert (await client.get("/", if_none_match=tag)).status == 304


def test_a_missing_file_stops_the_start(monkeypatch, tmp_path):
    monkeypatch.setattr("serving.api.tryit.STYLESHEET", tmp_path / "style.css")
    with pytest.raises(ConfigError, match="try-it page"):
        load_tryit()
