"""`python -m console`: serve the pages for people."""

from __future__ import annotations

import argparse
import logging
import sys

from console.application import make_app, open_console
from console.config import from_environment
from console.database import DatabaseError
from console.drift import site_pages
from console.keying import keying_pages
from console.keying.feeder import Feeder
from console.keying.read_waits import ReadWaits
from console.keying.room import KeyingRoom
from console.office import office_pages
from console.versions import versions_pages
from contract.tcp_port import tcp_port
from serving.config import ConfigError


def main() -> int:
    """Serve until SIGTERM or SIGINT; 2 where a setting or the database is unfit."""
    parser = argparse.ArgumentParser(
        prog="python -m console",
        description="Serve the console: keying, sites, the plant's figures, letters, models.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=tcp_port, default=8070, help="port to listen on")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        console = open_console(from_environment(), host=options.host)
        keying = KeyingRoom(console)
        feeder = Feeder(console, keying.codes)
    except (ConfigError, DatabaseError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    # Other threads keep the interpreter lock for up to so long: the p99 of 50 keyers' labels is
    # then 82 instead of 104 ms (medians of 6 and 5 runs of tests/console/test_keying_load.py).
    sys.setswitchinterval(0.0005)
    from serving.server.limited_server import serve_pages

    pages = [
        *keying_pages.pages(keying),
        *site_pages.pages(console),
        *office_pages.pages(),
        *versions_pages.pages(),
    ]
    feeder.start()
    app = make_app(console, pages, ReadWaits(console).routes())
    serve_pages(app, host=options.host, port=options.port)
    feeder.stop()
    keying.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
