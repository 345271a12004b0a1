"""Starts the MLflow server of the deployment: PostgreSQL, S3, sign-in, allowed host names.

The container's entry point; with the argument ``upgrade`` it brings the database's schema to this
image's MLflow instead (``infra/mlflow_upgrade.py``). It reads the variables of the task definition,
writes MLflow's authentication settings, which hold a password, to a folder that only its user can
read, and replaces itself with the server.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote


def database_uri(environment: Mapping[str, str]) -> str:
    """The address of the database of runs, models and users; requires TLS."""
    user, password = (quote(environment[f"DATABASE_{x}"], safe="") for x in ("USER", "PASSWORD"))
    place = f"{environment['DATABASE_HOST']}:5432/{environment['DATABASE_NAME']}"
    return f"postgresql+psycopg2://{user}:{password}@{place}?sslmode=require"


def auth_settings(uri: str, environment: Mapping[str, str]) -> str:
    """MLflow's ``basic_auth.ini``: no access without an account."""
    lines = (
        "[mlflow]",
        "default_permission = NO_PERMISSIONS",
        f"database_uri = {uri.replace('%', '%%')}",  # MLflow reads the file with interpolation
        f"admin_username = {environment['MLFLOW_ADMIN_USER']}",
        f"admin_password = {environment['MLFLOW_ADMIN_PASSWORD']}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
    )
    return "\n".join(lines) + "\n"


def server_command(environment: Mapping[str, str]) -> list[str]:
    """The server's command line, without secrets: every process can read it."""
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--app-name",
        "basic-auth",
        "--host",
        environment.get("MLFLOW_HOST", "0.0.0.0"),  # noqa: S104  # the task's own interface
        "--port",
        environment["MLFLOW_PORT"],
        "--workers",
        environment["MLFLOW_WORKERS"],
        "--allowed-hosts",
        environment["MLFLOW_ALLOWED_HOSTS"],
        "--artifacts-destination",
        environment["MLFLOW_ARTIFACTS"],
    ]


def upgrade(uri: str) -> None:
    """Bring the schema to the version of this MLflow; a server refuses one that is behind.

    In this process, because the address holds the password and every process can read a command
    line. Users have tables of their own, which the server upgrades when it starts.
    """
    from mlflow.cli import cli

    cli(["db", "upgrade", uri])  # ends the process


def main() -> None:
    """Upgrade the schema, or write the settings and replace this process with the server."""
    environment = dict(os.environ)
    uri = database_uri(environment)
    if sys.argv[1:] == ["upgrade"]:
        upgrade(uri)
    folder = Path(tempfile.mkdtemp())  # mode 0700
    settings = folder / "basic_auth.ini"
    settings.write_text(auth_settings(uri, environment))
    environment["MLFLOW_BACKEND_STORE_URI"] = uri
    environment["MLFLOW_AUTH_CONFIG_PATH"] = str(settings)
    environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secrets.token_hex(32)
    command = server_command(environment)
    os.execve(command[0], command, environment)  # noqa: S606  # no shell


if __name__ == "__main__":
    main()
