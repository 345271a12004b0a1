"""SIGTERM: readiness turns red, requests are answered, then the process exits."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.harness import (
    ROOT,
    STOCK,
    Load,
    Report,
    Service,
    during,
    free_port,
    one_crop,
    only_ours,
)

DRAIN_S = 3.0
RPS = 100
OPERATIONS = ROOT / "docs" / "operations.md"


def drain(report: Report, kind: str) -> None:
    """SIGTERM under load: requests in progress and new ones are answered until the drain ends."""
    with Service(kind, env={"DIGITS_DRAIN_S": str(DRAIN_S)}, faults=True) as service:
        load = Load(service)
        slow: list[int] = []
        service.harm(cost_ms=300)
        threads = [
            threading.Thread(target=lambda: slow.append(service.read(one_crop(), 20)[0]))
            for _ in range(5)
        ]

        async def run() -> None:
            for thread in threads:
                thread.start()
            await asyncio.sleep(0.1)
            begun = time.perf_counter()
            stopping = asyncio.create_task(asyncio.to_thread(service.stop, grace_s=40))
            await asyncio.sleep(0.3)
            service.harm()
            ready = await asyncio.to_thread(service.status, "/readyz")
            report.fact("readyz_0.3_s_after_SIGTERM", ready)
            report.expect("readiness is red at once", ready == 503 or kind == STOCK)
            try:
                sample = await load.run(service.port, 50, DRAIN_S - 1.0)
                report.fact("requests_while_draining", len(sample.status))
                report.fact("failed_while_draining", sample.num_failed)
                report.expect("all answered while draining", sample.num_failed == 0)
            except OSError as error:
                report.fact("requests_while_draining", f"refused: {error}")
                report.misses.append("answers while draining")
            code = await stopping
            report.fact("exit_code", code)
            report.fact("exit_after_s", time.perf_counter() - begun)
            report.expect("exits within 30 s, with 0", code == 0)

        asyncio.run(run())
        for thread in threads:
            thread.join()
        report.fact("in_flight_at_SIGTERM", slow)
        report.expect("what was in flight is answered", slow == [200] * 5)


def drain_while_hung(report: Report, kind: str) -> None:
    """SIGTERM while the model hangs for five minutes."""
    with Service(kind, faults=True) as service:
        service.read(one_crop())
        service.harm(hang_s=300)
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(service.read(one_crop(), 40)[0]))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        begun = time.perf_counter()
        code = service.stop(grace_s=32)
        report.fact("exit_code", code)
        report.fact("exit_after_s", time.perf_counter() - begun)
        for thread in threads:
            thread.join()
        report.fact("answers_of_the_hung", statuses)
        report.expect("exits by itself within 30 s", time.perf_counter() - begun <= 30)
        report.expect("the hung are told 504 or 503", set(statuses) <= {503, 504})


def behind_nginx(report: Report, kind: str) -> None:
    """Restart two instances in turn behind nginx, configured as in docs/operations.md."""
    only_ours(kind)
    env = {"DIGITS_DRAIN_S": "4"}  # longer than nginx avoids an instance after a failure
    exits: list[int | None] = []
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(Service(env=env)) for _ in range(2)]
        load = Load(services[0])
        port = stack.enter_context(nginx([service.port for service in services]))

        again: list[Service] = []

        def restart_both() -> None:
            for service in services:
                exits.append(service.stop(grace_s=30))
                again.append(stack.enter_context(Service(env=env, port=service.port)))

        sample = during(lambda: load.run(port, RPS, 20), restart_both, after_s=1)
        report.fact("requests", len(sample.status))
        report.fact("failed", sample.num_failed)
        report.fact("wrong", sample.num_wrong)
        report.fact("statuses", sample.statuses())
        report.fact("p99_ms", sample.percentile_ms(99))
        report.fact("exit_codes", exits)
        details = [
            json.loads(line)["detail"]
            for service in (*services, *again)
            for line in service.log.splitlines()
            if '"request refused"' in line
        ]
        report.fact("refused_by_the_service_itself", len(details))
        report.fact("because", sorted(set(details))[:3])
        report.expect("0 failed", sample.num_failed == 0)
        report.expect("0 wrong", sample.num_wrong == 0)
        report.expect("both were stopped", exits == [0, 0])


@contextlib.contextmanager
def nginx(upstreams: list[int]) -> Iterator[int]:
    """Debian's nginx with the configuration of docs/operations.md in front of these ports."""
    recommended = re.search(r"```nginx\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    assert recommended, "docs/operations.md has no nginx configuration"
    port = free_port()
    upstream = re.search(r"(server 10\.0\.0\.\d+:3000([^;]*);\s*)+", recommended[1])
    assert upstream, "docs/operations.md has another upstream than this check expects"
    servers = "".join(f"server 127.0.0.1:{one}{upstream[2]};\n    " for one in upstreams)
    http = recommended[1].replace(upstream[0], servers)
    http = http.replace("listen 8080", f"listen 127.0.0.1:{port}")
    with tempfile.TemporaryDirectory(prefix="acceptance-nginx-") as folder:
        paths = "".join(
            f"{name}_temp_path {folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # As root, nginx would give its worker a user who cannot write bodies into our folder.
        user = "user root;\n" if os.geteuid() == 0 else ""
        config = Path(folder) / "nginx.conf"
        config.write_text(
            f"{user}daemon off;\nworker_processes 1;\n"
            f"pid {folder}/pid;\nerror_log {folder}/error.log;\n"
            f"worker_rlimit_nofile 16384;\nevents {{ worker_connections 8192; }}\n"
            f"http {{\naccess_log off;\n{paths}\n{http}\n}}\n"
        )
        process = subprocess.Popen(["nginx", "-p", folder, "-c", str(config)])
        try:
            while not _is_open(port):
                time.sleep(0.05)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


CHECKS = {"drain": drain, "drain-while-hung": drain_while_hung, "behind-nginx": behind_nginx}
