"""The MLflow server's image, run as its task definition runs it: half a core, read-only.

`deploy/image.sh mlflow` builds the image and passes its name in DIGITLINE_MLFLOW_IMAGE. The server
uses a PostgreSQL that accepts TLS only, as in the deployment, and moto's S3.
"""

import base64
import getpass
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

IMAGE = os.environ.get("DIGITLINE_MLFLOW_IMAGE", "")
NAME = "digitline-mlflow-test"
TEMPLATE = Path(__file__).parents[2] / "infra" / "snapshots" / "prod" / "mlops.json"
DATABASE_HOST = "127.0.0.42"  # the port is fixed, so the test uses its own address
HOST = "mlflow.prod.digitline.internal"
BUCKET = "digitline-prod-artifacts-123456789012"
USER, PASSWORD = "admin", "correct-horse-battery"

pytestmark = [
    pytest.mark.skipif(not IMAGE, reason="no image: run `deploy/image.sh mlflow`"),
    # moto's server threads leave sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@dataclass
class Task:
    """The task of the template and its one container."""

    cpus: float
    memory_mib: int
    container: dict

    @classmethod
    def read(cls):
        resources = json.loads(TEMPLATE.read_text())["Resources"].values()
        tasks = [r["Properties"] for r in resources if r["Type"] == "AWS::ECS::TaskDefinition"]
        (task,) = [t for t in tasks if t["ContainerDefinitions"][0]["Name"] == "mlflow"]
        return cls(int(task["Cpu"]) / 1024, int(task["Memory"]), task["ContainerDefinitions"][0])

    def variables(self, given):
        """Its variables and secrets, from the template or, as AWS would, from ``given``."""
        listed = self.container["Environment"]
        literal = {v["Name"]: v["Value"] for v in listed if isinstance(v["Value"], str)}
        names = {v["Name"] for v in [*listed, *self.container["Secrets"]]}
        assert names == {*literal, *given} - {"MLFLOW_S3_ENDPOINT_URL", "MLFLOW_HOST"} - AWS_KEYS
        return {**literal, **given}


AWS_KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}  # on AWS: the task's role


def podman(*arguments, check=True):
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Database:
    """A PostgreSQL of its own with one user, which accepts TLS connections only."""

    def __init__(self, password):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
        self.programs = found[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="digitline-database-"))
        self.options = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            entry = pwd.getpwnam("postgres")
            self.options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            shutil.chown(self.folder, entry.pw_uid, entry.pw_gid)
        (self.folder / "password").write_text(password)
        shutil.chown(self.folder / "password", self.options.get("user", getpass.getuser()))
        data = self.folder / "data"
        self.run("initdb", f"--pwfile={self.folder}/password", "-U", "mlflow", "-D", data)
        certificate = ["-keyout", data / "server.key", "-out", data / "server.crt"]
        subject = ["-subj", "/CN=database.internal", "-days", "1"]
        self.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *certificate, *subject)
        rules = "local all all trust\nhostssl all all 127.0.0.0/8 scram-sha-256\n"
        (data / "pg_hba.conf").write_text(rules)
        settings = f"-k {self.folder} -c listen_addresses={DATABASE_HOST} -c ssl=on -c fsync=off"
        log = self.folder / "log"
        self.run("pg_ctl", "-D", data, "-w", "-l", log, "-o", f"{settings} -p 5432", "start")
        self.run("createdb", "-h", self.folder, "-U", "mlflow", "mlflow")

    def run(self, program, *arguments):
        where = self.programs / program
        command = [where if where.exists() else program, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, **self.options
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def query(self, statement):
        return self.run("psql", "-h", self.folder, "-U", "mlflow", "-Atc", statement, "mlflow")

    def stop(self):
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)


@dataclass
class Server:
    port: int
    healthy_after_s: float
    database: Database
    s3: object

    def send(self, path, *, user="", host=HOST, body=None, method=None):
        headers = {"Host": f"{host}:{self.port}", "Content-Type": "application/json"}
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def is_healthy(self):
        """Run the health check of the task definition."""
        (kind, *command) = Task.read().container["HealthCheck"]["Command"]
        assert kind == "CMD"
        here = [word.replace(":5000/", f":{self.port}/") for word in command]
        done = subprocess.run(["podman", "exec", NAME, *here], capture_output=True, check=False)
        return done.returncode == 0


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    password = "p@ss:w/rd%" + secrets.token_hex(8)
    database = Database(password)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    endpoint = "http://{}:{}".format(*moto.get_host_and_port())
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    s3.create_bucket(Bucket=BUCKET)
    task, port = Task.read(), free_port()
    variables = task.variables(
        {
            **keys,
            "MLFLOW_S3_ENDPOINT_URL": endpoint,
            "MLFLOW_HOST": "127.0.0.1",  # the test uses this machine's network
            "MLFLOW_PORT": str(port),
            "MLFLOW_ALLOWED_HOSTS": f"{HOST}:{port},localhost:{port}",
            "MLFLOW_ARTIFACTS": f"s3://{BUCKET}/mlflow",
            "MLFLOW_ADMIN_USER": USER,
            "MLFLOW_ADMIN_PASSWORD": PASSWORD,
            "DATABASE_HOST": DATABASE_HOST,
            "DATABASE_USER": "mlflow",
            "DATABASE_PASSWORD": password,
        }
    )
    flags = ["--network=host", "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL"]
    flags += [f"--user={task.container['User']}", "--security-opt=no-new-privileges"]
    flags += [f"--memory={task.memory_mib}m", f"--cpus={task.cpus}"]
    flags += [f"--env={key}={value}" for key, value in variables.items()]
    podman("rm", "--force", "--time=0", NAME, check=False)
    begun = time.perf_counter()
    podman("run", "--detach", f"--name={NAME}", *flags, IMAGE)
    made = Server(port, 0, database, s3)
    try:
        while not made.is_healthy():
            running = podman("inspect", "--format={{.State.Running}}", NAME)
            assert running == "true", podman("logs", NAME)
            assert time.perf_counter() - begun < 300, podman("logs", NAME)
            time.sleep(0.5)
        made.healthy_after_s = time.perf_counter() - begun
        yield made
    finally:
        print(podman("logs", "--tail=5", NAME, check=False))
        podman("rm", "--force", "--time=0", NAME, check=False)
        moto.stop()
        database.stop()


EXPERIMENT = "/api/2.0/mlflow/experiments/get?experiment_id=0"


def test_it_is_healthy_within_the_start_period(server):
    start_s = Task.read().container["HealthCheck"]["StartPeriod"]
    print(f"\nempty database to healthy at half a core: {server.healthy_after_s:.1f} s")
    assert server.healthy_after_s < start_s
    assert server.send("/health") == (200, b"OK")


def test_requests_need_a_sign_in(server):
    assert server.send(EXPERIMENT, user=f"{USER}:{PASSWORD}")[0] == 200
    assert server.send(EXPERIMENT)[0] == 401
    assert server.send(EXPERIMENT, user=f"{USER}:wrong-horse-battery")[0] == 401


def test_it_accepts_its_own_host_names_only(server):
    user = f"{USER}:{PASSWORD}"
    assert server.send(EXPERIMENT, user=user, host="localhost")[0] == 200
    assert server.send(EXPERIMENT, user=user, host="evil.example")[0] == 403


def test_runs_and_users_are_in_postgresql_over_tls(server):
    body = json.dumps({"name": "digits"}).encode()
    status, _ = server.send(
        "/api/2.0/mlflow/experiments/create", user=f"{USER}:{PASSWORD}", body=body
    )
    assert status == 200
    assert server.database.query("select name from experiments order by 1") == "Default\ndigits"
    assert server.database.query("select username from users") == USER
    connections = "pg_stat_ssl join pg_stat_activity using (pid) where client_addr is not null"
    assert server.database.query(f"select distinct ssl, version from {connections}") == "t|TLSv1.3"


def test_artifacts_are_in_s3(server):
    path = "/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/note.txt"
    user = f"{USER}:{PASSWORD}"
    status, body = server.send(path, user=user, body=b"kept", method="PUT")
    assert status == 200, body
    key = "mlflow/0/run/artifacts/note.txt"
    assert server.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"kept"
    assert server.send(path, user=user) == (200, b"kept")
    assert server.send(path, body=b"changed", method="PUT")[0] == 401


def test_it_runs_without_root_and_its_image_is_read_only(server):
    assert podman("exec", NAME, "id", "-u") == "10001"
    for path in ("/app/start.py", "/etc/x", "/tmp/x"):
        assert podman("exec", NAME, "sh", "-c", f"echo > {path} || echo refused") == "refused", path


def test_no_command_line_holds_a_password(server):
    arguments = podman("top", NAME, "args")
    assert "mlflow" in arguments
    assert PASSWORD not in arguments
    assert "p%40ss" not in arguments


PROPORTIONAL_KIB = """
import glob, re
files = [open(name).read() for name in glob.glob("/proc/[0-9]*/smaps_rollup")]
print(sum(int(re.search(r"^Pss: +(\\d+)", file, re.M)[1]) for file in files if file))
"""


def test_a_quarter_of_the_tasks_memory_is_free(server):
    """Counts the memory of its processes; the kernel can drop the rest, which is page cache."""
    held_mib = int(podman("exec", NAME, "python", "-c", PROPORTIONAL_KIB)) / 1024
    print(f"\nmemory of its processes: {held_mib:.0f} MiB of {Task.read().memory_mib}")
    assert held_mib < 0.75 * Task.read().memory_mib
    assert podman("inspect", "--format={{.State.OOMKilled}}", NAME) == "false"


def test_it_stops_on_sigterm(server):
    stop_s = Task.read().container["StopTimeout"]
    begun = time.perf_counter()
    podman("stop", f"--time={stop_s}", NAME)
    print(f"\nstopped in {time.perf_counter() - begun:.1f} s")
    assert podman("inspect", "--format={{.State.ExitCode}}", NAME) != "137"  # killed
