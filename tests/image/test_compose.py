"""deploy/compose.yaml, nginx's limits and the dashboard match the code and the documents."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy
import yaml

from monitoring.__main__ import build_parser
from monitoring.config import from_environment
from serving.config import JOB_VARIABLES, Settings
from serving.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
OURS = ("service", "shipper", "watch", "retrain", "reports", "console", "erase", "mlflow")
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/digitline.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
FUNCTIONS = {"sum", "min", "max", "rate", "by", "ignoring", "group_left", "histogram_quantile"}


@pytest.fixture(scope="module")
def metrics():
    """Name of each series -> its labels, as the service exposes them."""
    telemetry = Telemetry(Settings(), SimpleNamespace(version="1", sha256="0" * 64))
    known = {}
    for collector in telemetry.registry._collector_to_names:
        labels = set(collector._labelnames)
        known |= {
            name: labels | {"le"} for name in telemetry.registry._collector_to_names[collector]
        }
    return known


@pytest.mark.parametrize("query", QUERIES)
def test_the_dashboard_queries_series_that_the_service_exposes(query, metrics):
    used = set(re.findall(r"digits_\w+", query))
    assert used
    assert used <= set(metrics)
    grouped = [
        label for found in re.findall(r"by \(([^)]*)\)", query) for label in found.split(", ")
    ]
    filtered = re.findall(r"[{,]\s*(\w+)=", query)
    for label in grouped + filtered:
        assert any(label in metrics[name] for name in used), label


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_has_balanced_parentheses_and_known_functions(query):
    assert query.count("(") == query.count(")")
    assert set(re.findall(r"\b([a-z_]+) ?\(", query)) <= FUNCTIONS


def test_nginx_has_the_documented_limits():
    promised = re.search(r"```nginx\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.S)
    configured = (ROOT / "deploy/nginx.conf").read_text()
    lines = [line.strip() for line in configured.splitlines()]
    for line in map(str.strip, promised[1].splitlines()):
        if line and not line.startswith(("#", "server 10.")):
            assert line in lines


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_accepts_its_configuration(tmp_path):
    text = (ROOT / "deploy/nginx.conf").read_text().replace("service:3000", "127.0.0.1:3000")
    text = text.replace("/tmp/nginx.pid", str(tmp_path / "pid"))
    (tmp_path / "nginx.conf").write_text(text)
    command = ["nginx", "-t", "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_read_only_without_capabilities(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_ports_are_published_on_loopback_only():
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    assert "ports" not in COMPOSE["services"]["service"]  # only through nginx


def test_the_file_holds_no_password():
    text = FILE.read_text()
    assert not re.search(r"(?i)password:\s*\S", text.replace("password: {file", ""))


def test_every_file_that_is_mounted_exists():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(".") and source != "../model-store":  # made before the start
                assert (FILE.parent / source).exists(), source


def test_our_containers_own_the_mount_points_of_their_volumes():
    """A new volume belongs to root if the image does not have the folder."""
    for name in OURS:
        service = COMPOSE["services"][name]
        build = service["build"]
        image = (FILE.parent / build["context"] / build["dockerfile"]).read_text()
        owned = set(" ".join(re.findall(r"install -d -o 10001 -g 10001 (.*)", image)).split())
        named = [volume for volume in service["volumes"] if volume[0].isalpha()]  # not host folders
        mounted = {volume.split(":")[1] for volume in named}
        assert mounted <= owned, name


def test_the_service_has_the_settings_in_the_file():
    known = {f"DIGITS_{name.upper()}" for name in Settings.model_fields}
    used = COMPOSE["services"]["service"]["environment"]
    assert {name for name in used if name.startswith("DIGITS_")} <= known


def test_the_console_has_settings_that_a_program_reads():
    known = {f"DIGITS_{name.upper()}" for name in Settings.model_fields} | JOB_VARIABLES
    used = COMPOSE["services"]["console"]["environment"]
    assert {name for name in used if name.startswith("DIGITS_")} <= known


def test_the_console_listens_on_the_port_that_is_published():
    console = COMPOSE["services"]["console"]
    (published,) = console["ports"]
    assert console["command"][-3:] == ["0.0.0.0", "--port", published.rsplit(":", 1)[1]]


def test_the_console_can_change_labels_and_sites_but_no_report_model_or_candidate():
    volumes = COMPOSE["services"]["console"]["volumes"]
    writable = {one.split(":")[0] for one in volumes if not one.endswith(":ro")}
    assert writable == {"spool", "captures", "console"}


def test_the_console_keeps_its_database_in_a_volume():
    console = COMPOSE["services"]["console"]
    default = console["environment"]["DIGITS_CONSOLE_DATABASE"].partition(":-")[2].rstrip("}")
    folder = sqlalchemy.engine.make_url(default).database.rpartition("/")[0]
    assert f"console:{folder}" in console["volumes"]


def test_the_console_finds_the_candidate_of_the_retraining():
    given = COMPOSE["services"]["console"]["environment"]
    retrain = COMPOSE["services"]["retrain"]
    place = retrain["command"].index("--work") + 1
    assert given["DIGITS_TRAINING_WORK"] == retrain["command"][place]
    assert given["DIGITS_DATA_STORE"] == retrain["environment"]["DIGITS_DATA_STORE"]


@pytest.mark.parametrize("name", ["service", "watch", "retrain", "console"])
def test_whoever_needs_the_champion_has_the_one_of_the_checkout(name):
    """The image has one, too: it is the old one after a promotion."""
    service = COMPOSE["services"][name]
    assert service["environment"]["DIGITS_CHAMPION"] == "/srv/models/champion"
    assert "../model:/srv/models:ro" in service["volumes"]


def test_an_erasure_can_write_to_every_volume_that_may_hold_a_read():
    reads = {"spool", "captures", "reports", "training"}
    volumes = COMPOSE["services"]["erase"]["volumes"]
    mounted = dict(volume.split(":", 1) for volume in volumes)
    assert {name: mounted.get(name) for name in reads} == {
        "spool": "/var/lib/digitline",
        "captures": "/var/lib/captures",
        "reports": "/var/lib/reports",
        "training": "/var/lib/training",
    }
    given = COMPOSE["services"]["erase"]["environment"]
    others = COMPOSE["services"]["console"]["environment"]
    for name in ("CAPTURE_DIR", "CAPTURE_STORE", "REPORTS", "DATA_STORE", "MODEL_STORE"):
        assert given[f"DIGITS_{name}"] == others[f"DIGITS_{name}"]


def test_the_console_asks_for_the_keys_of_the_service():
    service, console = (COMPOSE["services"][name] for name in ("service", "console"))
    for name in ("DIGITS_AUTH", "DIGITS_API_KEYS_FILE", "DIGITS_CAPTURE_DIR", "DIGITS_CHAMPION"):
        assert console["environment"][name] == service["environment"][name], name
    assert "api_keys" in console["secrets"]


@pytest.mark.parametrize(
    ("image", "has_console"), [("Dockerfile", False), ("Dockerfile.jobs", True)]
)
def test_the_console_is_in_the_image_of_the_jobs_only(image, has_console):
    lines = (ROOT / "deploy" / image).read_text().splitlines()
    assert ("COPY console console" in lines) is has_console
    assert "COPY . " not in "\n".join(lines)


def test_every_package_that_the_image_of_the_jobs_copies_is_in_the_build_context():
    image = (ROOT / "deploy" / "Dockerfile.jobs").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", image, re.M))
    context = (ROOT / ".dockerignore").read_text().splitlines()
    assert "console" in copied
    assert {f"!{name}" for name in copied} <= set(context)


def test_the_links_of_alerts_lead_to_the_report_server():
    reports = COMPOSE["services"]["reports"]
    ((published, listened),) = [port.rsplit(":", 1) for port in reports["ports"]]
    parser = build_parser(from_environment({}))
    options = parser.parse_args(reports["command"][3:])
    assert (options.host, str(options.port)) == ("0.0.0.0", listened)
    for name in ("watch", "retrain", "reports"):
        given = COMPOSE["services"][name]["environment"]
        assert given["DIGITS_REPORTS_URL"] == f"http://{published}", name
        assert given["DIGITS_REPORTS"] == "/var/lib/reports", name


@pytest.mark.parametrize("name", ["shipper", "watch", "retrain", "reports"])
def test_a_job_is_a_command_that_its_program_takes(name):
    parser = build_parser(from_environment({}))
    parser.parse_args(COMPOSE["services"][name]["command"][3:])


def test_an_erasure_takes_an_id():
    parser = build_parser(from_environment({}))
    parser.parse_args([*COMPOSE["services"]["erase"]["entrypoint"][3:], "ID"])


def test_the_report_server_can_change_nothing():
    assert COMPOSE["services"]["reports"]["volumes"] == ["reports:/var/lib/reports:ro"]


def test_the_jobs_take_the_triggers_in_the_file():
    given = COMPOSE["services"]["retrain"]["environment"]
    assert from_environment(given).retrain == from_environment({}).retrain


def test_the_driver_of_mlflows_database_is_installed():
    """Since SQLAlchemy 2.1 plain postgresql:// selects another driver."""
    (command,) = (part for part in COMPOSE["services"]["mlflow"]["command"] if "://" in part)
    scheme = re.search(r'"([a-z0-9+]+)://mlflow', command)[1]
    sqlalchemy.create_engine(f"{scheme}://nobody@nowhere/nothing").dispose()


def test_the_stop_grace_period_covers_the_drain():
    service = COMPOSE["services"]["service"]
    drain_s = int(service["environment"]["DIGITS_DRAIN_S"])
    assert int(service["stop_grace_period"].rstrip("s")) > drain_s + 15
