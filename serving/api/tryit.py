"""The page /: people draw, drop or pick a crop, and see the answer and what it depends on.

Its files are in serving/tryit; the stylesheet is the one of all of the project's pages. The page
loads nothing from other hosts, and no inline script or style; its content-security policy forbids
that.
"""

import base64
from pathlib import Path
from typing import Final

from serving.api.documents import PAGE_SECURITY, REVALIDATE
from serving.config import ConfigError
from serving.messages import Answer

FOLDER: Final = Path(__file__).parents[1] / "tryit"
STYLESHEET: Final = Path(__file__).parents[2] / "pages" / "templates" / "style.css"
PAGE_PATH: Final = "/"
SCRIPT_PATH: Final = "/tryit/tryit.js"
STYLE_PATH: Final = "/tryit/style.css"
_CROPS_PLACE: Final = "<!-- crops -->\n"
_FIELD_PLACE: Final = "<!-- field -->"
_CROP: Final = (
    '<button type="button" class="plain" data-file="{name}">'
    '<img src="data:image/png;base64,{data}" alt="Shipped {name}"></button>\n'
)


def load_tryit() -> dict[str, Answer]:
    """Path -> answer, for the page and every file that it loads. Reads the files once.

    Raises:
        ConfigError: a file is missing.
    """
    try:
        page = (FOLDER / "index.html").read_text()
        for place, folder in ((_CROPS_PLACE, "crops"), (_FIELD_PLACE, "fields")):
            page = page.replace(place, _pictures(FOLDER / folder))
        script = (FOLDER / "tryit.js").read_bytes()
        style = STYLESHEET.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"a file of the try-it page cannot be read: {error}; install the service again"
        ) from error
    return {
        PAGE_PATH: _file(page.encode(), b"text/html; charset=utf-8"),
        SCRIPT_PATH: _file(script, b"text/javascript; charset=utf-8"),
        STYLE_PATH: _file(style, b"text/css; charset=utf-8"),
    }


def _file(content: bytes, content_type: bytes) -> Answer:
    return Answer(content, 200, content_type, (*PAGE_SECURITY, REVALIDATE))


def _pictures(folder: Path) -> str:
    """A button for each shipped picture, by name. They are embedded: half a kilobyte a crop."""
    return "".join(
        _CROP.format(name=file.name, data=base64.b64encode(file.read_bytes()).decode())
        for file in sorted(folder.glob("*.png"))
    )
