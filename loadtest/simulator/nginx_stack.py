"""The real service for `validate`: worker processes, each on its core, behind nginx."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from capture.record import CaptureRecord
from capture.segments import live_segments, read_segment, sealed_segments
from loadtest import servers
from loadtest.process import TICKS_PER_S, Tree

# Nothing is refused, in the service or in the simulation, because waiting times are compared.
PLAIN_QUEUE: Final = {
    "DIGITS_MAX_BATCH_SIZE": "1",
    "DIGITS_QUEUE_LIMIT": "100000",
    "DIGITS_MAX_QUEUE_WAIT_MS": "60000",
    "DIGITS_REQUEST_DEADLINE_MS": "60000",
    "DIGITS_CAPTURE_ORIGINALS": "false",
}
_NGINX: Final = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
worker_rlimit_nofile 18000;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_max_body_size 8m; client_body_buffer_size 1m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  proxy_http_version 1.1; proxy_set_header Connection "";
  upstream all {{ least_conn; {all} keepalive 64; }}
  upstream first {{ {first} keepalive 64; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://all; }} }}
  server {{ listen 127.0.0.1:{first_port}; location / {{ proxy_pass http://first; }} }}
}}
"""


Command = Callable[[servers.Place], list[str]]


@dataclass(frozen=True, slots=True)
class Stack:
    """Worker processes behind nginx."""

    port: int  # nginx, balancing over all workers
    first_port: int  # nginx, in front of the first worker only
    workers: list[Tree]
    spools: list[Path]  # the capture folder of each

    def cpu_s(self) -> float:
        """Processor time used on the workers' cores.

        Without a spare core this includes nginx and the load generator.
        """
        if (os.cpu_count() or 1) > len(self.workers):
            return sum(worker.cpu_s() for worker in self.workers)
        return machine_s()

    def work_ms(self, run: str) -> dict[str, float]:
        """Request id -> time on the model thread, for the ids that start with `run`."""
        return {
            record.request_id: record.decode_ms
            + record.preprocess_ms
            + record.inference_ms
            + record.decision_ms
            for spool in self.spools
            for record in captured(spool)
            if record.request_id.startswith(run)
        }


def captured(spool: Path) -> Iterator[CaptureRecord]:
    """Every record of a spool that is still being written; a record may come twice."""
    for segment in live_segments(spool):
        with contextlib.suppress(FileNotFoundError):  # sealed meanwhile, so it is read below
            yield from read_segment(segment)
    for segment in sealed_segments(spool):
        yield from read_segment(segment)


@contextlib.contextmanager
def stack(workers: int) -> Iterator[Stack]:
    """Start this number of workers, each on its own core, behind nginx."""
    with tempfile.TemporaryDirectory(prefix="validate-") as name, contextlib.ExitStack() as undo:
        folder = Path(name)
        ports, trees, spools = [], [], []
        ours = servers.ours([servers.API_KEY])
        queueing = replace(
            ours, env=ours.env | PLAIN_QUEUE, command=_with_low_priority(ours.command)
        )
        for core in range(workers):
            spool = folder / f"spool-{core}"
            capturing = replace(queueing, env=queueing.env | {"DIGITS_CAPTURE_DIR": str(spool)})
            tree, port = servers.start(capturing, folder / f"worker-{core}", core=core)
            undo.callback(tree.terminate, grace_s=30)
            servers.wait_until(partial(servers.is_ready, port), tree, timeout_s=60)
            ports.append(port)
            trees.append(tree)
            spools.append(spool)
        yield Stack(*undo.enter_context(nginx(folder, ports)), trees, spools)


def _with_low_priority(
    command: Callable[[servers.Place], list[str]],
) -> Callable[[servers.Place], list[str]]:
    """Lower the worker's priority: nginx and the load generator share its core."""
    return lambda place: ["nice", "-n", "19", *command(place)]


@contextlib.contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[tuple[int, int]]:
    """Run nginx with keep-alive; its ports in front of all workers and of the first only."""
    port = servers.free_port()
    upstreams = [f"server 127.0.0.1:{one};" for one in ports]
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _NGINX.format(
            folder=folder,
            all=" ".join(upstreams),
            first=upstreams[0],
            port=port,
            first_port=port + 1,
        )
    )
    with subprocess.Popen(["nginx", "-e", "stderr", "-c", str(configuration)]) as process:
        try:
            yield port, port + 1
        finally:
            process.terminate()


def machine_s() -> float:
    """Processor time of everything on this machine since boot."""
    user, nice, system, _, _, irq, softirq = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / TICKS_PER_S
