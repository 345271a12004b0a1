"""Our service, started for a load test on this machine, and stopped afterwards."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest import servers
from loadtest.process import Tree, pinned_to

READY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Local:
    """Our service, running for a load test."""

    tree: Tree
    host: str
    keys: list[str]


@contextlib.contextmanager
def local_service(keys: list[str]) -> Iterator[Local]:
    """Run our service as shipped, with these API keys, one for each site."""
    server = servers.ours(keys)
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        tree, port = servers.start(server, Path(folder))
        try:
            servers.wait_until(lambda: servers.is_ready(port), tree, timeout_s=READY_S)
            with pinned_to(servers.CLIENT_CORE):
                yield Local(tree, f"http://127.0.0.1:{port}", keys)
        finally:
            tree.terminate(grace_s=30)
