"""A name of any characters as one segment of an address, and back. Pure."""

from __future__ import annotations

from urllib.parse import quote, unquote

_ESCAPES = {"%": "%25", "/": "%2F", "\\": "%5C"}


def to_segment(name: str) -> str:
    """Write a name so that no server, proxy or browser takes a part of it for a path.

    A server takes one layer of escapes away before it looks for the page, and a browser resolves
    "." and "..", also where they are escaped once. So these and slashes are escaped twice.
    """
    inner = "".join(_ESCAPES.get(char, char) for char in name)
    if set(name) <= {"."}:
        inner = inner.replace(".", "%2E")
    return quote(inner, safe="")


def from_segment(segment: str) -> str:
    """The name of a segment from which the server has taken the outer escapes."""
    return unquote(segment)
