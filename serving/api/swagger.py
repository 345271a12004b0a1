"""The page /docs: Swagger UI, which shows /openapi.json and sends requests from the browser.

Its files come with the package offapi, which takes them unchanged from swagger-ui-dist 5.33.1. The
page loads nothing from other hosts; its content-security policy forbids that, and inline scripts.
"""

import gzip
import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple

from serving.api.documents import PAGE_SECURITY, REVALIDATE
from serving.config import ConfigError
from serving.messages import Answer

PACKAGE: Final = "offapi"
PAGE_PATH: Final = "/docs"
SCRIPT_PATH: Final = "/docs/start.js"


class _Asset(NamedTuple):
    file: str  # in the package
    content_type: bytes
    sha256: str


ASSETS: Final[dict[str, _Asset]] = {
    "/docs/swagger-ui.css": _Asset(
        "swagger_style.css",
        b"text/css; charset=utf-8",
        "1ac324f7dcd27e4b9386b4bd6421271ec147e922a22c05ba24b11515e9aa6321",
    ),
    "/docs/swagger-ui-bundle.js": _Asset(
        "swagger_bundle.js",
        b"text/javascript; charset=utf-8",
        "050bc415ee7048dcd881682678f720264e7da5e373f7461d7c58c755305255f7",
    ),
}
_KEEP_A_YEAR: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Digitline API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{css}">
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. Without it, read <a href="/openapi.json">/openapi.json</a>.
</noscript>
<script src="{bundle}"></script>
<script src="/docs/start.js"></script>
</html>
"""
# validatorUrl: null stops Swagger UI from loading a badge from another host.
_SCRIPT: Final = b"""SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""


class AssetRefused(ConfigError):
    """A file of Swagger UI is missing, or is not the one that was pinned."""


def package_folder() -> Path:
    """The folder of the package. The package is not imported: its import reads 9 MB.

    Raises:
        AssetRefused: the package is not installed.
    """
    try:
        return Path(str(distribution(PACKAGE).locate_file(PACKAGE)))
    except PackageNotFoundError as error:
        raise AssetRefused(
            f"the package {PACKAGE} is not installed; install requirements-serving.txt"
        ) from error


def load_page(folder: Path) -> dict[str, Answer]:
    """Path -> answer, for the page and every file that it loads. Reads and checks the files once.

    Raises:
        AssetRefused: a file cannot be read, or its SHA-256 is not the pinned one.
    """
    # A new version gets a new URL, so browsers may cache a file for a year.
    css, bundle = (f"{path}?v={asset.sha256[:12]}" for path, asset in ASSETS.items())
    page = _PAGE.format(css=css, bundle=bundle).encode()
    answers = {
        PAGE_PATH: Answer(page, 200, b"text/html; charset=utf-8", (*PAGE_SECURITY, REVALIDATE)),
        SCRIPT_PATH: Answer(
            _SCRIPT, 200, b"text/javascript; charset=utf-8", (*PAGE_SECURITY, REVALIDATE)
        ),
    }
    for path, asset in ASSETS.items():
        content = _read_checked(folder / asset.file, asset.sha256)
        headers = (*PAGE_SECURITY, _KEEP_A_YEAR, (b"content-encoding", b"gzip"))
        answers[path] = Answer(_compressed(content), 200, asset.content_type, headers)
    return answers


def _compressed(content: bytes) -> bytes:
    """Compress for transport: the bundle is 1.6 MB, of which an unread answer may hold a copy.

    Every browser that runs Swagger UI takes gzip, so no other form is kept.
    """
    return gzip.compress(content, compresslevel=4, mtime=0)


def _read_checked(file: Path, expected: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise AssetRefused(
            f"{file.name} of {PACKAGE} cannot be read: {error}; install requirements-serving.txt"
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != expected:
        raise AssetRefused(
            f"{file.name} of {PACKAGE} has the SHA-256 {sha256}; {expected} is pinned: "
            "install requirements-serving.txt again"
        )
    return content
