"""The program that reads letters with one client: `python -m loadtest.faults.fault_reader --help`.

A process of its own, because names and the clock are lost for all of it. Letters come at even
steps; each has a thread. Writes one line of JSON: for each letter its outcome and its time.
"""

import argparse
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from loadtest.digit_crops import LabelledCrop, workload
from loadtest.faults.fault_kinds import FAULTS, HOST, Fault

ROOT: Final = Path(__file__).parents[2]
NUM_THREADS: Final = 64
RESOLVER_S: Final = 3.0  # a resolver that nobody answers
MARGIN_MS: Final = 10.0  # the other clients' timeouts end so much before the deadline, as ours does
WARM_UP: Final = 40  # letters that are not judged: connections, the p95
CLIENTS: Final = ("digitline", "offline", "httpx", "triton")

Read = Callable[[LabelledCrop], str]  # "service" or "local"; an error is raised


def main(arguments: list[str]) -> int:
    """Read letters; print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("port", type=int)
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--letters", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100.0, help="letters a second")
    parser.add_argument("--deadline-ms", type=float, default=150.0)
    parser.add_argument("--tls", action="store_true", help="SSL_CERT_FILE has the authority")
    options = parser.parse_args(arguments)
    fault = FAULTS[options.fault]
    if fault.moves_clock:
        move_clock()
    know_host(options.client == "triton", fault)
    read = make(options.client, f"{HOST}:{options.port}", options.deadline_ms, is_tls=options.tls)
    crops = workload(28, 100)
    letters = [crops[n % len(crops)] for n in range(WARM_UP + options.letters)]
    outcomes = read_all(read, letters, options.rate)[WARM_UP:]
    print(json.dumps({"outcomes": outcomes, "lag_ms": lag_ms()}))
    return 0


def read_all(read: Read, letters: list[LabelledCrop], rate: float) -> list[tuple[str, float]]:
    """(outcome, milliseconds of the call) of each; "lost" if it never ended."""
    outcomes: list[tuple[str, float]] = [("lost", 0.0)] * len(letters)
    begin = time.monotonic() + 0.2

    def one(number: int) -> None:
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        called = time.monotonic()
        try:
            outcome = read(letters[number])
        except Exception as error:  # noqa: BLE001  the clients' errors have no common class
            outcome = type(error).__name__
        outcomes[number] = (outcome, (time.monotonic() - called) * 1e3)

    threads = ThreadPoolExecutor(NUM_THREADS)
    watch = threading.Thread(target=_watch_lag, daemon=True)
    watch.start()
    list(threads.map(one, range(len(letters))))
    return outcomes


def make(client: str, address: str, deadline_ms: float, *, is_tls: bool) -> Read:
    """How this client reads one crop."""
    timeout_s = (deadline_ms - MARGIN_MS) / 1e3
    url = f"{'https' if is_tls else 'http'}://{address}"
    if client == "httpx":
        return _bare_httpx(url, timeout_s)
    if client == "triton":
        return _triton(address, timeout_s, is_tls=is_tls)
    sys.path.insert(0, str(ROOT / "sdk" / "src"))
    from digitline import Digitline

    fallback = _offline_reader() if client == "offline" else None
    digitline = Digitline(url, deadline_ms=deadline_ms, fallback=fallback)
    return lambda crop: digitline.read(crop.png).source


def _bare_httpx(url: str, timeout_s: float) -> Read:
    import httpx

    client = httpx.Client(base_url=url, timeout=timeout_s)

    def read(crop: LabelledCrop) -> str:
        response = client.post(
            "/v1/digit", content=crop.png, headers={"content-type": crop.media_type}
        )
        response.raise_for_status()
        response.json()["digit"]
        return "service"

    return read


def _triton(address: str, timeout_s: float, *, is_tls: bool) -> Read:
    import tritonclient.http as triton

    local = threading.local()  # its client is not for many threads

    def read(crop: LabelledCrop) -> str:
        if not hasattr(local, "client"):
            local.client = triton.InferenceServerClient(
                address,
                connection_timeout=timeout_s,
                network_timeout=timeout_s,
                ssl=is_tls,
                ssl_options={"ca_certs": os.environ["SSL_CERT_FILE"]} if is_tls else None,
            )
        image = triton.InferInput("image", [1, 28, 28], "UINT8")
        image.set_data_from_numpy(crop.pixels()[None])
        local.client.infer("digits", [image]).as_numpy("digit")
        return "service"

    return read


def _offline_reader() -> Callable[..., Any]:
    """The fallback of `digitline[offline]`, with the model as a wheel has it."""
    sys.path.insert(0, str(ROOT / "sdk"))
    from hatch_build import pack

    import digitline

    folder = Path(tempfile.mkdtemp()) / "digitline"
    (folder / "_model").mkdir(parents=True)
    pack(ROOT / "model", folder / "_model")
    digitline.__path__.append(str(folder))
    from digitline.local_reader import LocalReader

    reader = LocalReader()
    return lambda crop, why: reader.read(crop, why.request_id or "none")


def know_host(is_gevent: bool, fault: Fault) -> None:  # noqa: FBT001  one call
    """Let `HOST` be this machine, except while names are lost."""
    if is_gevent:
        import gevent
        import gevent.socket as sockets

        sleep = gevent.sleep
    else:
        sockets, sleep = socket, time.sleep
    real = sockets.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        if host not in (HOST, HOST.encode()):
            return real(host, *rest, **more)
        if fault.loses_names and fault.is_on():
            sleep(RESOLVER_S)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return real("127.0.0.1", *rest, **more)

    sockets.getaddrinfo = look_up


def move_clock() -> None:
    """Let the wall clock jump an hour each second, to and fro."""
    real = time.time
    time.time = lambda: real() + (3600 if int(time.monotonic()) % 2 else 0)


_lags_s: list[float] = []


def _watch_lag() -> None:
    while True:
        before = time.monotonic()
        time.sleep(0.005)
        _lags_s.append(time.monotonic() - before - 0.005)


def lag_ms() -> list[float]:
    """By how much a thread of this process woke up late: 99.9th percentile and worst."""
    in_order = sorted(_lags_s)
    return [in_order[int(0.999 * (len(in_order) - 1))] * 1e3, in_order[-1] * 1e3]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
