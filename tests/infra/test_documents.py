"""The documents match the deployment: numbers, links, commands."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator

from contract import timeouts
from infra import settings
from infra.__main__ import COMPARISON, DOCUMENT, renewed
from infra.app import PROD, STAGING
from infra.world import Template

BLOCKS = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
OPERATIONS = DOCUMENT.parent / "operations.md"
PYTHON = settings.REPOSITORY_ROOT / ".venv" / "bin" / "python"


def aws_commands() -> list[str]:
    """Every call of the AWS CLI, nested calls included; quoted text becomes Q."""
    found = []
    for line in LINES:
        text = re.sub(r"""'[^']*'|"(?:\\.|[^"\\])*\"""", "Q", line)
        while inner := re.search(r"\$\(([^()]*)\)", text):
            found.append(inner[1])
            text = text.replace(inner[0], "X")
        found.append(text)
    commands = [command for text in found for command in re.findall(r"\baws ([^|;#&]+)", text)]
    own = ("s3 ", "ecr get-login-password")  # commands of the CLI itself, in no model
    return [command for command in commands if not command.startswith(own)]


@pytest.mark.parametrize("file", [DOCUMENT, COMPARISON], ids=lambda file: file.name)
def test_the_document_holds_the_figures_that_the_command_prints(file: Path) -> None:
    assert file.read_text() == renewed(file), "run `python -m infra snapshot`"


@pytest.mark.parametrize("file", [DOCUMENT, COMPARISON, OPERATIONS], ids=lambda file: file.name)
def test_every_relative_link_has_a_target(file: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text())
    assert links
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_the_document_sets_every_ssm_parameter_that_the_templates_read() -> None:
    snapshots = settings.REPOSITORY_ROOT / "infra" / "snapshots" / PROD.name
    text = "".join(file.read_text() for file in snapshots.glob("*.json"))
    values = set(re.findall(rf'"/digitline/{PROD.name}/([a-z-]+)"', text))
    assert len(values) == 8
    documented = set(re.findall(r"set_value +([a-z-]+)", DOCUMENT.read_text()))
    assert values <= documented


def test_the_documents_numbers_are_the_settings() -> None:
    text = " ".join(
        (DOCUMENT.read_text() + COMPARISON.read_text() + OPERATIONS.read_text()).split()
    )
    for promised in (
        f"{settings.CANARY_PERCENT:g} % of the requests for five minutes",
        f"keeps connections {timeouts.KEEP_ALIVE_S} s, the load balancer {timeouts.ALB_IDLE_S} s",
        f"{timeouts.DRAIN_S} s of drain, {timeouts.DEREGISTRATION_S} s of deregistration",
        f"killed after {timeouts.STOP_TIMEOUT_S} s",
        f"more than {100 * settings.ALARM_REJECT_FRAC:g} % of crops are refused",
        f"after {settings.STUCK_DEPLOYMENT_MIN} minutes",
        f"no report for {settings.DRIFT_SILENCE_H} hours",
        f"the last {settings.NUM_IMAGES_KEPT} images are kept",
    ):
        assert promised in text


@pytest.mark.parametrize(
    "command", aws_commands(), ids=lambda command: " ".join(command.split()[:2])
)
def test_every_aws_command_exists_with_its_options(command: str) -> None:
    service, operation, *_ = command.split()
    model = botocore.session.get_session().get_service_model(service.removesuffix("api"))
    names = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(names[operation]).input_shape
    members = {xform_name(name, "-"): member for name, member in shape.members.items()}
    options = dict(re.findall(r" --([a-z-]+)(?:[ =]([^ ]+))?", command))
    options = {name.removeprefix("no-"): value for name, value in options.items()}
    assert set(options) - {"query", "output"} <= set(members)
    assert {xform_name(name, "-") for name in shape.required_members} <= set(options)
    for name, value in options.items():
        if name in members and (allowed := getattr(members[name], "enum", None)):
            assert value in allowed


@pytest.mark.parametrize(
    "command",
    sorted(
        {c for line in LINES for c in re.findall(r"\.venv/bin/python -m ([a-z.]+ [a-z]+)", line)}
    ),
)
def test_every_python_command_in_the_document_exists(command: str) -> None:
    if not PYTHON.exists():
        pytest.skip("the commands need .venv (make setup), which does not exist")
    done = subprocess.run(
        [PYTHON, "-m", *command.split(), "--help"],
        cwd=settings.REPOSITORY_ROOT,
        env={"PYTHONPATH": "."},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_output_that_the_document_reads_exists(
    synthesised: dict[str, dict[str, Template]],
) -> None:
    used = set(re.findall(r"\boutput ([a-z]+) ([A-Z]\w+)", "\n".join(LINES)))
    assert len(used) > 5
    for name in (PROD.name, STAGING.name):
        outputs = {(s, key) for s, t in synthesised[name].items() for key in t.get("Outputs", {})}
        assert used <= outputs


def test_the_stack_has_one_resource_where_the_document_expects_one(
    synthesised: dict[str, dict[str, Template]],
) -> None:
    used = set(re.findall(r"\$\(made ([a-z]+) ([\w:]+)\)", "\n".join(LINES)))
    assert used
    for stack, kind in used:
        types = [body["Type"] for body in synthesised["prod"][stack]["Resources"].values()]
        assert types.count(f"AWS::{kind}") == 1 or kind == "S3::Bucket"


def test_the_first_canary_has_what_its_golden_reads_need() -> None:
    """ECS reads golden crops before it gives a release traffic: by name, with a key."""
    text = "\n".join(LINES)
    steps = (
        "operate keys add --site golden-read",
        "put-secret-value --secret-id digitline/$STAGE/golden-read-key",
        'cdk deploy -c first=yes "$STAGE/*"',
        "output service Address",
        'cdk deploy "$STAGE/*"',
        "set-stack-policy",
    )
    places = [text.index(step) for step in steps]
    assert places == sorted(places)


def test_every_json_file_of_the_document_is_what_its_command_takes() -> None:
    text = "\n".join(LINES)
    files = re.findall(r"cat > (\S+) <<JSON\n(.*?)\nJSON\n", text, re.DOTALL)
    assert len(files) == 3
    for name, body in files:
        service, operation, option = re.findall(
            rf"aws (\S+) (\S+)[^\n]*? --(\S+) file://{re.escape(name)}", text
        )[0]
        model = botocore.session.get_session().get_service_model(service.removesuffix("api"))
        shape = {xform_name(n, "-"): n for n in model.operation_names}[operation]
        members = model.operation_model(shape).input_shape.members
        (member,) = (m for n, m in members.items() if xform_name(n, "-") == option)
        content = json.loads(re.sub(r"\$\(.*?\)", "X", body))
        assert not ParamValidator().validate(content, member).generate_report()


def test_every_function_and_variable_of_the_document_is_defined_before_it_is_used() -> None:
    text = "\n".join(LINES)
    for name in ("set_value", "build", "manifest", "build_release", "output", "made", "cdk"):
        used = re.search(rf"(?<![\w/-]){name}[ \n]", text)
        assert used is not None
        assert text.index(f"{name}() {{") < used.start()
    given = {
        "BUILD",
        "GOLDEN_KEY",
        "KEY",
        "NEW_PASSWORD",
        "PWD",
        "RUN",
        "WEST_KEY_ARN",
        "ZONE",
    }  # the reader or the shell may set them
    for used in re.finditer(r"\$\{?([A-Z_]+)", text):
        before = text[: used.start()]
        assert used[1] in given or re.search(rf"\b{used[1]}=", before), used[0]
