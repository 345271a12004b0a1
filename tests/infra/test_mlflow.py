"""The MLflow server as the container starts it: accounts and host names are checked."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from infra import settings

ROOT = settings.REPOSITORY_ROOT
PYTHON = ROOT / ".venv" / "bin" / "python"
TASK = {  # the container's variables in the task definition
    "DATABASE_USER": "mlflow",
    "DATABASE_PASSWORD": "p@ss:w/rd%",
    "DATABASE_HOST": "database.internal",
    "DATABASE_NAME": "mlflow",
    "MLFLOW_ADMIN_USER": "admin",
    "MLFLOW_ADMIN_PASSWORD": "correct-horse-battery",
    "MLFLOW_ALLOWED_HOSTS": "mlflow.prod.digitline.internal:5000",
    "MLFLOW_WORKERS": "1",
}


@pytest.fixture(scope="module")
def start() -> ModuleType:
    spec = importlib.util.spec_from_file_location("start", ROOT / "infra" / "mlflow" / "start.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_password_with_special_characters_is_quoted_in_the_uri(start: ModuleType) -> None:
    uri = start.database_uri(TASK)
    assert uri.startswith("postgresql+psycopg2://mlflow:p%40ss%3Aw%2Frd%25@database.internal:5432/")
    assert uri.endswith("sslmode=require")


def test_the_settings_file_parses_to_the_same_values(start: ModuleType) -> None:
    import configparser

    parser = configparser.ConfigParser()
    parser.read_string(start.auth_settings(start.database_uri(TASK), TASK))
    assert parser["mlflow"]["database_uri"] == start.database_uri(TASK)
    assert parser["mlflow"]["default_permission"] == "NO_PERMISSIONS"


def test_no_secret_is_on_the_command_line(start: ModuleType) -> None:
    words = " ".join(start.server_command({**TASK, "MLFLOW_PORT": "1", "MLFLOW_ARTIFACTS": "s3"}))
    assert "p@ss" not in words
    assert TASK["MLFLOW_ADMIN_PASSWORD"] not in words


def test_the_server_has_the_versions_of_its_clients() -> None:
    def pins(*files: str) -> set[str]:
        text = "".join((ROOT / file).read_text() for file in files).lower().replace("_", "-")
        return set(re.findall(r"^([\w.-]+==[^\s;\\]+)", text, re.MULTILINE))

    ours = pins("infra/mlflow/requirements.txt")
    assert {"mlflow", "psycopg2-binary", "boto3", "flask-wtf"} <= {p.split("==")[0] for p in ours}
    assert ours - pins("requirements.txt", "requirements-serving.txt") == set()


@pytest.fixture(scope="module")
def server(start: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real server on a database file, with the command and settings of the container."""
    if not PYTHON.exists():
        pytest.skip("MLflow needs .venv (make setup), which does not exist")
    has_mlflow = [PYTHON, "-c", "import mlflow, flask_wtf"]
    if subprocess.run(has_mlflow, capture_output=True, check=False).returncode:
        pytest.skip("mlflow and Flask-WTF are not installed in .venv")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = {
        **TASK,
        "MLFLOW_HOST": "127.0.0.1",
        "MLFLOW_PORT": port,
        "MLFLOW_ARTIFACTS": str(folder / "artifacts"),
    }
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    ini = folder / "basic_auth.ini"
    ini.write_text(start.auth_settings(f"sqlite:///{folder / 'users.db'}", variables))
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_AUTH_CONFIG_PATH": str(ini),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-this-test-only",
    }
    command = [str(PYTHON), *start.server_command(variables)[1:]]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the server and its workers
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(1800):  # 3 minutes: a busy machine needs more than one
        try:
            if urllib.request.urlopen(url, timeout=1).status == 200:
                return
        except OSError:
            time.sleep(0.1)
        if process.poll() is not None:
            break
    pytest.fail(f"MLflow did not start: {log.read_text()[-2000:]}")


def status(url: str, *, host: str = TASK["MLFLOW_ALLOWED_HOSTS"], user: str = "") -> int:
    headers = {"Host": host}
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0", headers=headers
    )
    try:
        return int(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_administrator_may_sign_in(server: str) -> None:
    assert status(server, user=f"admin:{TASK['MLFLOW_ADMIN_PASSWORD']}") == 200


def test_a_request_without_an_account_is_refused(server: str) -> None:
    assert status(server) == 401


def test_a_wrong_password_is_refused(server: str) -> None:
    assert status(server, user="admin:wrong-horse-battery") == 401


def test_an_unknown_host_name_is_refused(server: str) -> None:
    user = f"admin:{TASK['MLFLOW_ADMIN_PASSWORD']}"
    assert status(server, host="evil.example", user=user) == 403
