"""The port that an option of a server names, for argparse."""

import argparse


def tcp_port(text: str) -> int:
    """A port from 1 to 65535; uvicorn waits for ever on one beyond.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    if text.isdecimal() and 1 <= int(text) <= 65_535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 1 to 65535")
