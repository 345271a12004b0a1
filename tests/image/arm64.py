"""Runs the service on ARM64, as the deployment's tasks do, by emulation on any Debian machine.

    apt-get install qemu-user-static && python -m tests.image.arm64

It downloads Debian's Python for ARM64 and the locked wheels of the serving set, starts one worker
of this checkout and posts every crop of tests/data to it. Each response must equal this machine's
reading. Run it by hand: it needs the network, and its timing means nothing.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

from loadtest.bench.peers.same_work import Reader
from loadtest.clients.http1 import Connection, Request
from serving.__main__ import DIGITS

ROOT: Final = Path(__file__).parents[2]
CROPS: Final = ROOT / "tests" / "data" / "crops"
PYTHON: Final = """python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libstdc++6
    zlib1g libexpat1 libssl3 libbz2-1.0 liblzma5 libffi8 libgcc-s1 libsqlite3-0 libuuid1 libcrypt1
    tzdata media-types"""
WHEELS: Final = """--no-deps --only-binary=:all: --require-hashes --python-version 3.11
    --implementation cp --abi cp311 --platform manylinux_2_28_aarch64
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64"""
READY_S: Final = 120
# ONNX Runtime reads these files and crashes on this machine's, which the emulator would show.
PROCESSOR: Final = {
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd aes crc32 atomics fphp asimdhp asimddp\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n"
    "CPU revision\t: 1\n",
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
}


def main() -> int:
    """Set up, serve, compare; returns 1 if a reading differs."""
    with tempfile.TemporaryDirectory(prefix="arm64-") as name:
        folder = Path(name)
        root, site = folder / "root", folder / "site"
        fetch_python(folder, root)
        fetch_wheels(folder / "wheels", site)
        return asyncio.run(compare(folder, root, site))


def fetch_python(folder: Path, root: Path) -> None:
    """Unpack Debian's packages and write a description of the processor."""
    (folder / "apt" / "lists" / "partial").mkdir(parents=True)
    (folder / "apt" / "cache" / "archives" / "partial").mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures::=arm64"]
    apt += ["-o", f"Dir::State::lists={folder}/apt/lists", "-o", f"Dir::Cache={folder}/apt/cache"]
    apt += ["-o", "Dir::State::status=/dev/null", "-o", "APT::Sandbox::User=root"]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", *PYTHON.split()], check=True, cwd=folder)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
    for path, text in PROCESSOR.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def fetch_wheels(folder: Path, site: Path) -> None:
    """Download the locked serving set; fails on a package without a wheel for ARM64."""
    lock = ROOT / "requirements-serving.txt"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", *WHEELS.split()]
    subprocess.run([*pip, "-r", lock, "-d", folder], check=True)
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)
    print(f"{len(list(folder.glob('*.whl')))} wheels")


async def compare(folder: Path, root: Path, site: Path) -> int:
    """Post every crop to a worker on ARM64, and read it here."""
    bound = socket.create_server(("127.0.0.1", 0))
    ready, notify = os.pipe()
    qemu = ["qemu-aarch64-static", "-cpu", "neoverse-n1", "-L", str(root)]
    python = [*qemu, str(root / "usr" / "bin" / "python3.11"), "-m", "serving.server.worker"]
    worker = await asyncio.create_subprocess_exec(
        *python,
        *("--socket", str(bound.fileno()), "--alive", str(notify), "--app", DIGITS),
        pass_fds=(bound.fileno(), notify),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{site}", "BENTOML_HOME": str(folder / "bentoml")},
    )
    os.close(notify)
    try:
        ready_byte = await asyncio.wait_for(asyncio.to_thread(os.read, ready, 1), READY_S)
        assert ready_byte, "the worker exited before it was ready"
        return await _post_all(bound.getsockname()[1])
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()


async def _post_all(port: int) -> int:
    here, connection = Reader(), await Connection.open("127.0.0.1", port)
    files, others = sorted(CROPS.glob("*.png")), []
    for file in files:
        request = Request("/v1/digit", "image/png", file.read_bytes())
        there: dict[str, Any] = json.loads((await connection.send(request.wire("x"))).body)
        expected = here.read(request.body)
        if {name: there[name] for name in ("digit", "accepted")} != {
            name: expected[name] for name in ("digit", "accepted")
        } or abs(there["confidence"] - float(str(expected["confidence"]))) > 1e-4:
            others.append(file.name)
    connection.close()
    num_same = len(files) - len(others)
    print(f"{num_same} of {len(files)} crops are read as on this machine; different: {others}")
    return 1 if others or not files else 0


if __name__ == "__main__":
    raise SystemExit(main())
