"""What users get: the built wheel, in an environment that has nothing else."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from importlib import metadata
from pathlib import Path

import httpx
import pytest
from own_server import free_port
from packaging.requirements import Requirement

import digitline

ROOT = Path(__file__).parents[2]
CROPS = ROOT / "tests" / "data" / "crops"
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that is built from the sdist; without network."""
    out = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT / "sdk")
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def wheel(built):
    return built[1]


def run(*command, **options):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120,
        check=False, env=environment, **options,
    )  # fmt: skip


def needed_by(name, extras=("",)):
    """The distributions of this environment that one needs, with what they need in turn."""
    found, left = set(), [(name, tuple(extras))]
    while left:
        one, wanted = left.pop()
        if (one, wanted) in found:
            continue
        found.add((one, wanted))
        for text in metadata.requires(one) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted):
                left.append((requirement.name, ("", *requirement.extras)))
    return {one for one, _ in found}


def environment_of(folder, wheel, requirements):
    """A fresh environment with the wheel and exactly what `requirements` of it bring."""
    done = run(sys.executable, "-m", "venv", "--without-pip", folder)
    assert done.returncode == 0, done.stderr
    python = folder / "bin" / "python"
    done = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index",
        "--quiet", wheel,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    ours = Path(sysconfig.get_path("purelib"))
    names = set().union(*(needed_by(one.name) for one in requirements))
    for name in names:
        for file in metadata.distribution(name).files:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(ours / top)
    return python


def requirements_of(wheel, extra=""):
    with zipfile.ZipFile(wheel) as file:
        (name,) = [one for one in file.namelist() if one.endswith(".dist-info/METADATA")]
        text = file.read(name).decode()
    lines = re.findall(r"^Requires-Dist: (.*)$", text, re.MULTILINE)
    all_of_them = [Requirement(line) for line in lines]
    return [
        one for one in all_of_them if one.marker is None or one.marker.evaluate({"extra": extra})
    ]


@pytest.fixture(scope="module")
def base_python(wheel, tmp_path_factory):
    return environment_of(tmp_path_factory.mktemp("base") / "venv", wheel, requirements_of(wheel))


@pytest.fixture(scope="module")
def offline_python(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("offline") / "venv"
    return environment_of(folder, wheel, requirements_of(wheel, "offline"))


def test_wheel_and_sdist_have_the_model_the_types_and_one_version(built):
    sdist, wheel = built
    names = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as file:
        sources = {name.partition("/src/")[2] for name in file.getnames()}
    for name in ("py.typed", "_model/artifact.py", "_model/champion/model.onnx", "LICENSE"):
        assert f"digitline/{name}" in names
        assert f"digitline/{name}" in sources
    assert wheel.name == f"digitline-{digitline.__version__}-py3-none-any.whl"
    assert sdist.name == f"digitline-{digitline.__version__}.tar.gz"
    assert not [name for name in names if not name.startswith(("digitline/", "digitline-"))]


def test_the_base_wheel_needs_httpx_and_stamina_alone(wheel, base_python):
    assert {one.name for one in requirements_of(wheel)} == {"httpx", "stamina"}
    code = (
        "import importlib, pkgutil, digitline\n"
        "names = [m.name for m in pkgutil.iter_modules(digitline.__path__) if m.name[0] != '_']\n"
        "assert len(names) > 15, names\n"
        "for name in names: importlib.import_module(f'digitline.{name}')\n"
        "try: importlib.import_module('digitline.local_reader').LocalReader()\n"
        "except digitline.DigitlineError as error: print(error)\n"
    )
    done = run(base_python, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert "pip install 'digitline[offline]'" in done.stdout
    done = run(base_python.with_name("digitline"), "--version")
    assert done.stdout == f"digitline {digitline.__version__}\n"


def test_the_offline_extra_asks_for_what_the_service_runs(wheel):
    pinned = [
        Requirement(line)
        for line in (ROOT / "requirements-serving.in").read_text().splitlines()
        if not line.startswith("#")
    ]
    versions = {one.name: str(one.specifier).removeprefix("==") for one in pinned}
    extra = [one for one in requirements_of(wheel, "offline") if one.marker is not None]
    assert {one.name for one in extra} == {"kornia-rs", "numpy", "onnxruntime", "pillow"}
    for one in extra:
        assert one.specifier.contains(versions[one.name]), one


def test_mypy_sees_the_types_of_the_wheel(offline_python, tmp_path):
    (tmp_path / "uses.py").write_text(
        "from digitline import Digitline\n"
        "digit: int | None = Digitline('http://x').read(b'').digit\n"
        "wrong: str = Digitline('http://x').read(b'').digit\n"
    )
    done = run(
        sys.executable, "-m", "mypy", "--python-executable", offline_python, "--strict",
        "--config-file", os.devnull, "uses.py", cwd=tmp_path,
    )  # fmt: skip
    assert [line.partition(" error: ")[0] for line in done.stdout.splitlines()[:-1]] == [
        "uses.py:3:"
    ], done.stdout


def start_service(port, folder):
    environment = {name: value for name, value in os.environ.items() if "DIGITS_" not in name}
    environment |= {
        "DIGITS_PORT": str(port), "DIGITS_DRAIN_S": "0", "DIGITS_CAPTURE_DIR": str(folder),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "serving"], cwd=ROOT, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the service did not become ready")


def stop(process):
    process.terminate()
    try:
        process.wait(30)
    finally:
        process.kill()
        process.wait()


HELD = """
# The test stops the service and starts it again where the reader of the README does.
def wait_for(word):
    print(word, flush=True)
    input()
"""
AFTER_THE_LOOP = """
    LABEL
    print(stored.read)
    wait_for("labelled")
    reading = scanner.read(open(path, "rb").read())
    print(reading.digit, reading.source)
    wait_for("read offline")
    while offline.while_you_were_away().totals.waiting:
        time.sleep(0.05)
    print(offline.while_you_were_away())
"""


def test_the_readme_leads_a_new_user_from_a_read_to_a_pulled_network(offline_python, tmp_path):
    scan, label = PYTHON_BLOCK.findall((ROOT / "sdk" / "README.md").read_text())
    loop, _, _ = scan.partition("    print(offline.while_you_were_away())")
    loop = loop.replace("deadline_ms=150", "deadline_ms=5000")  # this machine may be busy
    program = HELD + loop + AFTER_THE_LOOP.replace("LABEL", label.strip())
    (tmp_path / "scan.py").write_text(program)
    port = free_port()
    service = start_service(port, tmp_path / "captures")
    files = [CROPS / "0-00188.png", CROPS / "7-00585.png"]
    scanner = subprocess.Popen(
        [offline_python, "-u", "scan.py", *files], cwd=tmp_path, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"DIGITLINE_URL": f"http://127.0.0.1:{port}", "PYTHONPATH": ""},
    )  # fmt: skip

    def lines_until(word):
        lines = []
        for line in scanner.stdout:
            if line.strip() == word:
                return lines
            lines.append(line.split())
        raise AssertionError(f"it ended before it said {word!r}: {lines}")

    try:
        first, second, stored = lines_until("labelled")
        assert (first[1], second[1:4]) == ("0", ["7", "True", "service"])
        assert stored in (["known"], ["unchecked"])
        stop(service)
        print(file=scanner.stdin, flush=True)
        assert lines_until("read offline") == [["7", "local"]]
        service = start_service(port, tmp_path / "captures")
        output, _ = scanner.communicate("\n", timeout=60)
    finally:
        stop(service)
        scanner.kill()
        scanner.communicate()
    assert "num_answered=1, disagreements=(), refusals={}" in output
    assert "spooled=1, answered=1" in output


def test_local_answers_over_a_wheel_are_those_of_the_running_service(offline_python, port):
    files = sorted(CROPS.glob("*.png"))
    read = [offline_python.with_name("digitline"), "read", *files, "--format", "json"]
    spool = offline_python.parent / "reads.db"
    theirs = run(*read, "--url", f"http://127.0.0.1:{port}", "--deadline-ms", "20000")
    ours = run(*read, "--url", f"http://127.0.0.1:{free_port()}", "--offline", spool)
    assert (theirs.returncode, ours.returncode) == (0, 0), theirs.stderr + ours.stderr
    theirs, ours = (
        [json.loads(line) for line in one.stdout.splitlines()] for one in (theirs, ours)
    )
    assert len(ours) == 200
    for their, our in zip(theirs, ours, strict=True):
        assert (their["source"], our["source"]) == ("service", "local")
        for name in ("file", "digit", "confidence", "model_version"):
            assert our[name] == their[name]
