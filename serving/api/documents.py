"""/openapi.json and the files of the pages, with entity tags: a client that has them gets 304.

Source:
    RFC 9110, 8.8.3 and 13.1.2.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Final

from serving.api import openapi
from serving.messages import Answer, Headers, Request

_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_SECURITY: Final[Headers] = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
)
REVALIDATE: Final = (b"cache-control", b"no-cache")
_IF_NONE_MATCH: Final = b"if-none-match"


@dataclass(frozen=True, slots=True)
class OpenApiHandler:
    """The handler of /openapi.json."""

    async def openapi(self, request: Request) -> Answer:
        """The OpenAPI 3.1 document; built at the first request, then cached."""
        return _unless_known(Answer(openapi.to_json()), request)


@dataclass(frozen=True, slots=True)
class PageHandler:
    """The handler of one file of a page."""

    answer: Answer

    async def page(self, request: Request) -> Answer:
        """The file; read at start."""
        return _unless_known(self.answer, request)


def _unless_known(answer: Answer, request: Request) -> Answer:
    """The answer with its entity tag; 304 without a body if the request names the tag."""
    tag = _tag(answer.body)
    headers = (*answer.headers, (b"etag", tag))
    known = request.headers.get(_IF_NONE_MATCH, b"")
    # A proxy that compresses makes the tag weak; the weak comparison ignores that.
    if known == b"*" or tag in [one.strip().removeprefix(b"W/") for one in known.split(b",")]:
        return Answer(b"", 304, answer.content_type, headers)
    return answer._replace(headers=headers)


@cache
def _tag(body: bytes) -> bytes:
    """A strong entity tag. The cache holds the few files of this process."""
    return b'"%b"' % hashlib.blake2b(body, digest_size=12).hexdigest().encode()
