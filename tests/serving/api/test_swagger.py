"""The page /docs and the files that it loads. That it works in a browser is not tested here."""

import gzip
import hashlib
import re
import shutil

import pytest

from serving.api.swagger import ASSETS, AssetRefused, load_page, package_folder

PATHS = ["/docs", "/docs/start.js", *ASSETS]
TYPES = {
    "/docs": "text/html; charset=utf-8",
    "/docs/start.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}


@pytest.fixture
def own_copy(tmp_path):
    """A copy of the package's files, which a test may change."""
    for asset in ASSETS.values():
        shutil.copy(package_folder() / asset.file, tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_has_its_type_and_forbids_scripts_from_elsewhere(client, path):
    reply = await client.get(path)
    assert (reply.status, reply.headers["content-type"]) == (200, TYPES[path])
    policy = dict(
        part.split(maxsplit=1) for part in reply.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_everything_that_the_page_loads_is_answered_here(client):
    page = (await client.get("/docs")).body.decode()
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [one.partition("?")[0] for one in loaded] == [
        "data:,", "/docs/swagger-ui.css", "/openapi.json", "/docs/swagger-ui-bundle.js",
        "/docs/start.js",
    ]  # fmt: skip
    for path in loaded[1:]:
        assert (await client.get(path)).status == 200
    assert not re.search(r"<script>|<style|\son\w+=", page)


@pytest.mark.parametrize("path", ASSETS)
async def test_a_pinned_file_is_kept_by_browsers_under_an_address_of_its_own(client, path):
    reply = await client.get(path)
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.headers["content-encoding"] == "gzip"
    assert len(reply.body) < 500_000
    sha256 = hashlib.sha256(gzip.decompress(reply.body)).hexdigest()
    assert f'"{path}?v={sha256[:12]}"' in (await client.get("/docs")).body.decode()


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js"])
async def test_a_file_of_ours_is_asked_for_again(client, path):
    assert (await client.get(path)).headers["cache-control"] == "no-cache"


async def test_the_page_shows_our_document_and_asks_no_validator(client):
    script = (await client.get("/docs/start.js")).body.decode()
    assert 'url: "/openapi.json"' in script
    assert "validatorUrl: null" in script


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_is_read_once(client, path):
    assert (await client.get(path)).body is (await client.get(path)).body


@pytest.mark.parametrize("file", [asset.file for asset in ASSETS.values()])
def test_a_file_with_one_byte_changed_is_refused(own_copy, file):
    load_page(own_copy)
    content = bytearray((own_copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (own_copy / file).write_bytes(content)
    with pytest.raises(AssetRefused, match=rf"{file} of offapi has the SHA-256 .* is pinned"):
        load_page(own_copy)


def test_a_missing_file_is_refused(own_copy):
    (own_copy / "swagger_style.css").unlink()
    with pytest.raises(AssetRefused, match=r"swagger_style\.css of offapi cannot be read"):
        load_page(own_copy)


def test_a_missing_package_is_refused(monkeypatch):
    monkeypatch.setattr("serving.api.swagger.PACKAGE", "no-such-package")
    with pytest.raises(AssetRefused, match="no-such-package is not installed"):
        package_folder()


@pytest.mark.parametrize("path", [*PATHS, "/openapi.json"])
async def test_a_client_that_has_the_file_gets_304_without_a_body(client, path):
    tag = (await client.get(path)).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        reply = await client.get(path, if_none_match=known)
        assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in reply.headers
    assert (await client.get(path, if_none_match='"other"')).status == 200


async def test_files_have_different_tags(client):
    tags = {(await client.get(path)).headers["etag"] for path in PATHS}
    assert len(tags) == len(PATHS)
