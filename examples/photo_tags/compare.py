"""Throughput of our rails beside BentoML's documented way: `python -m examples.photo_tags.compare`.

Both serve the same model in one process, on this machine, one after the other in each round.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from examples.photo_tags.prepare import load_photos

NUM_CLIENTS: Final = 8
START_S: Final = 90.0
STOP_S: Final = 30.0
BOUNDARY: Final = "photo-boundary"
RAILS: Final = [sys.executable, "-m", "serving", "--app", "examples.photo_tags.service:build"]
BENTOML: Final = [
    *(sys.executable, "-m", "bentoml", "serve", "examples.photo_tags.bentoml_way:PhotoTags"),
    "--port",
]


@contextlib.contextmanager
def server(command: list[str], port: int) -> Iterator[None]:
    """A server that is ready, until the block ends."""
    settings = {"DIGITS_PORT": str(port), "DIGITS_DRAIN_S": "0", "BENTOML_DO_NOT_TRACK": "True"}
    process = subprocess.Popen(
        command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        give_up = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    break
            if time.monotonic() > give_up or process.poll() is not None:
                raise RuntimeError(f"{command} did not become ready")
            time.sleep(0.2)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


def count(port: int, path: str, bodies: list[bytes], content_type: str, seconds: float) -> int:
    """Requests that were answered with 200, of clients that each wait for their answer."""
    end = time.monotonic() + seconds

    def client(number: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        num_answered, place = 0, number
        while time.monotonic() < end:
            body = bodies[place % len(bodies)]
            connection.request("POST", path, body, {"content-type": content_type})
            reply = connection.getresponse()
            reply.read()
            num_answered += reply.status == 200
            place += 1
        return num_answered

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        return sum(pool.map(client, range(NUM_CLIENTS)))


def as_form(photo: bytes) -> bytes:
    """A photo as the form that BentoML reads."""
    head = (
        f"--{BOUNDARY}\r\ncontent-disposition: form-data; "
        'name="photo"; filename="photo.jpg"\r\ncontent-type: image/jpeg\r\n\r\n'
    )
    return head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Print requests a second of both, for each round."""
    parser = argparse.ArgumentParser(prog="python -m examples.photo_tags.compare")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    args = parser.parse_args()
    photos = list(load_photos().files)
    forms = [as_form(photo) for photo in photos]
    form_type = f"multipart/form-data; boundary={BOUNDARY}"
    for number in range(args.rounds):
        rates = []
        for command, path, bodies, kind in (
            (RAILS, "/v1/tags", photos, "image/jpeg"),
            (BENTOML, "/tags", forms, form_type),
        ):
            port = free_port()
            full = command if command is RAILS else [*command, str(port)]
            with server(full, port):
                count(port, path, bodies, kind, 2.0)  # warm up
                rates.append(count(port, path, bodies, kind, args.seconds) / args.seconds)
        rails, bento = rates
        sys.stdout.write(f"round {number + 1}: rails {rails:.1f}/s, BentoML {bento:.1f}/s, ")
        sys.stdout.write(f"{rails / bento:.2f}x\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
