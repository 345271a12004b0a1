"""A real PostgreSQL server for one test: Debian's, in a private cluster."""

import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from own_server import free_port


def find_postgres() -> Path:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")


@pytest.fixture
def postgres(tmp_path_factory):
    """The URL of a database in a private cluster.

    PostgreSQL refuses to run as root, so root lends it another user.
    """
    binaries = find_postgres()
    user = getpass.getuser()
    options = {}
    folder = Path(tmp_path_factory.mktemp("cluster"))
    if os.geteuid() == 0:
        user = "postgres"
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            pytest.skip("running as root and there is no user `postgres` to run the server")
        options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        folder = Path(tempfile.mkdtemp(prefix="digits-cluster-"))  # pytest's own is root's alone
        shutil.chown(folder, user, entry.pw_gid)
    data, port = folder / "data", free_port()
    try:
        run_as(options, folder, binaries / "initdb", "-D", data, "--auth=trust", "-U", user)
        settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = folder / "log"
        control = binaries / "pg_ctl"
        run_as(options, folder, control, "-D", data, "-w", "-l", log, "-o", settings, "start")
        try:
            address = ["-h", "127.0.0.1", "-p", str(port), "-U", user]
            run_as(options, folder, binaries / "createdb", *address, "digitline")
            yield f"postgresql+psycopg2://{user}@127.0.0.1:{port}/digitline"
        finally:
            run_as(options, folder, control, "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_as(options, folder, *command):
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
        **options,
    )
    assert done.returncode == 0, done.stderr.decode()
