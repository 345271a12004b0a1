"""What the commands share on the terminal: the parser, common options, aligned tables."""

import argparse
import os
from collections.abc import Sequence
from inspect import cleandoc
from pathlib import Path


def parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m loadtest COMMAND`."""
    return argparse.ArgumentParser(
        f"python -m loadtest {command}",
        description=cleandoc(description or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


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
