"""Clients that generators make of our OpenAPI document read crops from a real server."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from serving.api import openapi

ROOT = Path(__file__).parents[3]
GENERATORS = Path(__file__).parent / "generators"
GENERATOR = ROOT / ".venv-openapi" / "bin" / "openapi-python-client"
NODE_MODULES = GENERATORS / "node_modules"
CROPS = ROOT / "tests" / "data" / "crops"

pytestmark = pytest.mark.slow
needs_generator = pytest.mark.skipif(
    not GENERATOR.exists(), reason="make .venv-openapi/.set installs openapi-python-client"
)
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE_MODULES / "typescript").exists(),
    reason="with Node.js, make .venv-openapi/.set installs openapi-typescript",
)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(openapi.to_json())
    return path


def run(*command, cwd=None):
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


@needs_generator
def test_the_client_of_openapi_python_client_reads_crops(document, port, tmp_path):
    made = tmp_path / "made_client"
    done = run(
        GENERATOR, "generate", "--path", document, "--output-path", made, "--meta", "none",
        "--config", GENERATORS / "openapi-python-client.yml", "--fail-on-warning",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(
        GENERATOR.parent / "python", GENERATORS / "python_client.py", made,
        f"http://127.0.0.1:{port}", CROPS / "7-00585.png", CROPS / "0-00188.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout)
    assert answer.pop("version")
    assert answer == {"one": 7, "request_id": "made-1", "bad": 415, "both": [7, 0]}


@pytest.fixture
def typescript(document, tmp_path):
    """A folder with our client and the types that are made of the document."""
    for name in ("package.json", "tsconfig.json", "client.ts", "main.mjs"):
        shutil.copy(GENERATORS / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    bin_ = NODE_MODULES / ".bin"
    done = run(bin_ / "openapi-typescript", document, "-o", "schema.d.ts", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


@needs_node
def test_a_typescript_client_type_checks_and_reads_a_crop(typescript, port):
    done = run(NODE_MODULES / ".bin" / "tsc", "--project", ".", cwd=typescript)
    assert done.returncode == 0, done.stdout
    done = run(
        "node", "main.mjs", f"http://127.0.0.1:{port}", CROPS / "7-00585.png", cwd=typescript
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["digit"], answer["accepted"], answer["for_people"]) == (7, True, "7")
    assert len(answer["candidates"]) == 2
