"""Builds the command line's parsers: each command and action has its help and its function."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_command(
    commands: Any, name: str, help_text: str, run: Callable[[argparse.Namespace], int] | None = None
) -> argparse.ArgumentParser:
    """Add a command, whose description is its help text.

    Args:
        commands: what ``add_subparsers`` returned.
        name: of the command.
        help_text: what it does, beginning in lower case.
        run: called with the options; None if the command has actions.
    """
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    if run is not None:
        added.set_defaults(command=run)
    return added


def add_action(
    actions: Any, name: str, run: Callable[[argparse.Namespace], int], help_text: str
) -> argparse.ArgumentParser:
    """Add an action on a deployed environment; AWS_REGION and credentials are boto3's own."""
    added = add_command(actions, name, help_text, run)
    added.add_argument("--environment", required=True, help="prod, staging or another of app.py")
    return added
