"""`python -m loadtest sdk`: the scanner SDK and two other clients under the same faults."""

import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from capture.segments import read_segment, sealed_segments
from loadtest import servers
from loadtest.command_line import parser, table
from loadtest.failure import LoadtestFailed
from loadtest.faults.fault_kinds import FAULTS, HOST, Fault
from loadtest.faults.fault_proxy import FaultProxy
from loadtest.faults.fault_reader import CLIENTS, RESOLVER_S, WARM_UP
from loadtest.faults.own_certificate import write_certificate
from loadtest.process import Tree

READY_S: Final = 60.0
DEADLINE_MS: Final = 150.0
OURS: Final = ("digitline", "offline")
_LABELS: Final = {
    "digitline": "digitline",
    "offline": "digitline[offline]",
    "httpx": "httpx",
    "triton": "tritonclient",
}


@dataclass(frozen=True, slots=True)
class Round:
    """One client under one fault."""

    client: str
    fault: str
    outcomes: Counter[str]  # "service", "local", an error's class, "lost"
    num_late: int  # answer or error after the deadline
    num_answered_in_time: int
    worst_ms: float
    lag_ms: tuple[float, float]  # of the machine: 99.9th percentile, worst
    seen: Counter[str]  # by the proxy
    num_recorded: int  # crops that the service read and recorded
    num_records_too_many: int  # distinct reads in the archive beyond one a letter

    @property
    def num_letters(self) -> int:
        """Letters that came."""
        return self.outcomes.total()


def main(arguments: list[str]) -> int:
    """Read letters with each client under each fault of the network; print a table.

    The service runs as shipped, on loopback, and records every crop. A letter is answered in time
    if its digit comes within 150 ms of the letter; an error in time leaves it to a person. Needs
    tritonclient[http] for its row.
    """
    options = parser("sdk", main.__doc__)
    options.add_argument(
        "--letters", type=int, default=1000, help="letters a round (default: %(default)s)"
    )
    options.add_argument(
        "--rate", type=float, default=100.0, help="letters a second (default: %(default)s)"
    )
    options.add_argument(
        "--faults", nargs="+", choices=FAULTS, default=list(FAULTS), help="default: all of them"
    )
    options.add_argument(
        "--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS), help="default: all of them"
    )
    options.add_argument("--tls", action="store_true", help="TLS to the proxy (default: no)")
    options.add_argument(
        "--out",
        type=Path,
        help="JSON file of the rounds; those of other faults and clients in it are kept and "
        "printed, too, so that a table can be measured in parts (default: none)",
    )
    chosen = options.parse_args(arguments)
    rounds = read_rounds(chosen.out)
    for fault in chosen.faults:
        for client in chosen.clients:
            one = asyncio.run(run_round(client, FAULTS[fault], chosen))
            print(f"{fault}: {client}: {_line(one)}", file=sys.stderr, flush=True)
            rounds[fault, client] = one
            if chosen.out is not None:
                write_rounds(chosen.out, rounds)
    print(to_markdown(in_order(rounds)))
    return 0


Rounds = dict[tuple[str, str], Round]  # by fault and client


def read_rounds(path: Path | None) -> Rounds:
    """The rounds of a file; none, if it is not there.

    Raises:
        LoadtestFailed: it has something else.
    """
    if path is None or not path.exists():
        return {}
    try:
        rows = json.loads(path.read_text())
        rounds = [
            Round(
                **row
                | {"outcomes": Counter(row["outcomes"]), "seen": Counter(row["seen"])}
                | {"lag_ms": tuple(row["lag_ms"])}
            )
            for row in rows
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise LoadtestFailed(f"{path} has no rounds of this program: {error!r}") from error
    return {(one.fault, one.client): one for one in rounds}


def write_rounds(path: Path, rounds: Rounds) -> None:
    """Keep the rounds in a file, after each of them."""
    path.write_text(json.dumps([_plain(one) for one in in_order(rounds)], indent=1))


def in_order(rounds: Rounds) -> list[Round]:
    """As the table has them, whatever was measured first."""
    return [
        rounds[fault, client] for fault in FAULTS for client in CLIENTS if (fault, client) in rounds
    ]


async def run_round(client: str, fault: Fault, chosen: Any) -> Round:
    """Start a service and a proxy, let one client read, count.

    Raises:
        LoadtestFailed: the service did not start, or the client's program failed.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        tree, port = await asyncio.to_thread(_start_service, folder)
        tls = write_certificate(folder / "ca.pem", HOST) if chosen.tls else None
        proxy = FaultProxy(port, fault, tls=tls)
        try:
            authority = folder / "ca.pem" if chosen.tls else None
            found = await _read(client, await proxy.start(), fault, authority, chosen)
        finally:
            await proxy.stop()
            await asyncio.to_thread(tree.terminate, grace_s=30)
        return _judge(client, fault, found, proxy, folder / "spool")


def _start_service(folder: Path) -> tuple[Tree, int]:
    port = servers.free_port()
    env = {"PYTHONPATH": str(servers.ROOT), "DIGITS_PORT": str(port), "DIGITS_AUTH": "off",
           "DIGITS_HOST": "127.0.0.1", "DIGITS_CAPTURE_DIR": str(folder / "spool"),
           "OMP_NUM_THREADS": "1"}  # fmt: skip
    tree = Tree([sys.executable, "-m", "serving"], core=None, env=env, log=folder / "server.log")
    try:
        servers.wait_until(lambda: servers.is_ready(port), tree, timeout_s=READY_S)
    except TimeoutError as error:
        tree.terminate(grace_s=5)
        raise LoadtestFailed(f"{error}: {(folder / 'server.log').read_text()[-500:]}") from error
    return tree, port


async def _read(
    client: str, port: int, fault: Fault, authority: Path | None, chosen: Any
) -> dict[str, Any]:
    tls = {} if authority is None else {"SSL_CERT_FILE": str(authority)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtest.faults.fault_reader", client, str(port), fault.name,
        f"--letters={chosen.letters}", f"--rate={chosen.rate}", f"--deadline-ms={DEADLINE_MS}",
        *(["--tls"] if authority else []),
        env={**os.environ, **tls, "PYTHONPATH": str(servers.ROOT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    limit_s = 60 + 2 * chosen.letters / chosen.rate + 20 * RESOLVER_S
    try:
        out, errors = await asyncio.wait_for(process.communicate(), limit_s)
    except TimeoutError as error:
        process.kill()
        raise LoadtestFailed(
            f"{client} under {fault.name} did not end in {limit_s:.0f} s"
        ) from error
    if process.returncode:
        raise LoadtestFailed(f"{client} under {fault.name}: {errors.decode()[-500:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def _judge(
    client: str, fault: Fault, found: dict[str, Any], proxy: FaultProxy, spool: Path
) -> Round:
    outcomes = found["outcomes"]
    is_late = [took_ms > DEADLINE_MS for _, took_ms in outcomes]
    records = [one for path in sealed_segments(spool) for one in read_segment(path)]
    letters = {one.request_id for one in records}
    reads = {(one.read_id, one.index) for one in records}
    return Round(
        client=client,
        fault=fault.name,
        outcomes=Counter(name for name, _ in outcomes),
        num_late=sum(is_late),
        num_answered_in_time=sum(
            name in ("service", "local") and not late
            for (name, _), late in zip(outcomes, is_late, strict=True)
        ),
        worst_ms=max(took_ms for _, took_ms in outcomes),
        lag_ms=tuple(found["lag_ms"]),
        seen=proxy.seen,
        num_recorded=len(records),
        num_records_too_many=len(reads) - len(letters),
    )


def to_markdown(rounds: Sequence[Round]) -> str:
    """The table of docs/sdk.md: a fault a row, a client a column."""
    clients = [client for client in CLIENTS if any(one.client == client for one in rounds)]
    ours = [client for client in clients if client in OURS]
    names = ["fault", *(_LABELS[one] for one in clients), "requests a letter", "recorded twice"]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for fault in dict.fromkeys(one.fault for one in rounds):
        of_fault = {one.client: one for one in rounds if one.fault == fault}
        most = max(
            (_requests_per_letter(of_fault[client]) for client in ours if client in of_fault),
            default=0.0,
        )
        twice = sum(one.num_records_too_many for name, one in of_fault.items() if name in ours)
        cells = [_shares(of_fault[client]) if client in of_fault else "" for client in clients]
        row = [FAULTS[fault].label, *cells, f"{most:.2f}", str(twice)]
        lines.append(f"| {' | '.join(row)} |")
    judged = [one for one in rounds if one.client in ours]
    kept = 1 - sum(one.num_late for one in judged) / max(1, sum(one.num_letters for one in judged))
    lines += [
        "",
        "Cells: answered in time %, late %, longest call in ms. Requests and records: digitline.",
        f"Calls of digitline that ended in time: {100 * kept:.2f} %.",
    ]
    return "\n".join(lines)


def _shares(one: Round) -> str:
    answered, late = (100 * n / one.num_letters for n in (one.num_answered_in_time, one.num_late))
    return f"{answered:.1f}, {late:.1f}, {one.worst_ms:,.0f}"


def _requests_per_letter(one: Round) -> float:
    return one.seen["requests"] / (one.num_letters + WARM_UP)


def _line(one: Round) -> str:
    rows = [
        ("in time", "late", "worst ms", "requests", "retry", "hedge", "records", "twice", "lag ms"),
        (str(one.num_answered_in_time), str(one.num_late), f"{one.worst_ms:.0f}",
         str(one.seen["requests"]), str(one.seen["retry"]), str(one.seen["hedge"]),
         str(one.num_recorded), str(one.num_records_too_many),
         "{:.0f} {:.0f}".format(*one.lag_ms)),
    ]  # fmt: skip
    return f"{dict(one.outcomes)}\n{table(rows)}"


def _plain(one: Round) -> dict[str, Any]:
    return {
        name: dict(value) if isinstance(value, Counter) else value
        for name in one.__slots__
        for value in [getattr(one, name)]
    }
