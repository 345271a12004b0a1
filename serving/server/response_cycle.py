"""One request and its answer on an HTTP/1.1 connection: uvicorn's class, for complete answers.

uvicorn supports answers of unknown length, writes them in parts and checks each header with two
regular expressions. Our answers are complete and have their length, so they need one write and
one check (python -m loadtest bench --parts latency).
"""

import urllib.parse
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_CLOSE: Final = b"connection: close\r\n"


class Cycle(RequestResponseCycle):
    """One request and its answer, which the application sends in two messages: start and body.

    The application, serving.edge.edge, must send the content-length header.
    """

    _start: MutableMapping[str, Any]

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        """Keep the start of the answer; write all of it when its body comes.

        Raises:
            RuntimeError: the messages are not one start and one body, or a header has a line break.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started and message["type"] == "http.response.start":
            self.response_started = True
            self.waiting_for_100_continue = False
            self._start = message
        elif self.response_started and not self.response_complete and not message.get("more_body"):
            self._answer(self._start["status"], self._start["headers"], message["body"])
        else:
            raise RuntimeError(f"{message['type']} here; send one start and one complete body")

    def _answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        lines = [b"%s: %s\r\n" % header for header in (*self.default_headers, *headers)]
        if _CLOSE in lines:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(_CLOSE)
        head = b"".join([STATUS_LINE[status], *lines, b"\r\n"])
        if not head.count(b"\r") == head.count(b"\n") == len(lines) + 2:
            raise RuntimeError("a header of the answer has a line break")
        self.transport.write(head if self.scope["method"] == "HEAD" else head + body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


@lru_cache(maxsize=64)
def split_target(target: bytes) -> tuple[str, bytes, bytes]:
    """Split a request's target as ASGI needs it: path, raw path and query string.

    Cached, because clients request the same few targets.

    Raises:
        httptools.HttpParserInvalidURLError: the target is invalid.
    """
    url = httptools.parse_url(target)
    raw_path = url.path or b"/"  # empty in http://host
    path = raw_path.decode("ascii")
    return urllib.parse.unquote(path) if "%" in path else path, raw_path, url.query or b""
