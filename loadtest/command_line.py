"""What the commands share on the terminal: the parser, common options, aligned tables."""

import argparse
import os
from collections.abc import Sequence
from inspect import cleandoc
from pathlib import Path
from urllib.parse import urlsplit


def parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m loadtest COMMAND`."""
    return argparse.ArgumentParser(
        f"python -m loadtest {command}",
        description=cleandoc(description or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_host(to: argparse.ArgumentParser) -> None:
    """Add `--host`, the address of a running service."""
    to.add_argument(
        "--host", type=_address, required=True, help="for example http://127.0.0.1:3000"
    )


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is no address; give http://HOST:PORT")
    return text


def add_keys(to: argparse.ArgumentParser) -> None:
    """Add `--keys-file`; the parsed value is `keys`, a list."""
    to.add_argument(
        "--keys-file",
        dest="keys",
        metavar="FILE",
        type=lambda name: Path(name).read_text().split(),
        default=[],
        help="API keys, one a line, one for each site (default: send no key)",
    )


def add_path(to: argparse.ArgumentParser, option: str, default: Path, what: str) -> None:
    """Add an option for a path; its help shows the default relative to the working folder."""
    shown = os.path.relpath(default)
    to.add_argument(option, type=Path, default=default, help=f"{what} (default: {shown})")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines with right-aligned columns; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
