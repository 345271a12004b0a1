import re
import subprocess
import sys
from pathlib import Path

import pytest

from contract.timeouts import REQUEST_DEADLINE_S
from serving import __main__ as serving_main
from serving import config, config_text
from serving.config import JOB_VARIABLES, PREFIX, ConfigError, Settings, load_settings
from serving.config_text import describe, to_markdown

ROOT = Path(__file__).parents[2]

MISTAKES = {
    "PORT": ["0", "65536", "http", "", "3000.5"],
    "WORKERS": ["0", "65", "-1"],
    "ERROR_TARGET": ["0", "1", "-0.1", "nan", "low"],
    "MAX_BATCH_SIZE": ["0", "257"],
    "QUEUE_LIMIT": ["0", "1000001"],
    "MAX_QUEUE_WAIT_MS": ["0", "60001"],
    "MAX_IN_FLIGHT": ["0", "9" * 30],
    "REQUEST_DEADLINE_MS": ["49", "60001"],
    "BODY_DEADLINE_MS": ["49", "60001"],
    "MAX_BODY_BYTES": ["1023", "1MB", "64000001"],
    "MAX_BULK_BODY_BYTES": ["1023", "64000001"],
    "RATE_LIMIT_RPS": ["0", "-5", "nan", "inf", "1e-9"],
    "HOST": ["", "localhost", "127.1", "127.0.0.1:80"],
    "OTLP_ENDPOINT": ["", "collector:4318", "ftp://collector", "http://collector:99999"],
    "AUTH": ["yes", "ON", ""],
    "CAPTURE_SAMPLE_FRAC": ["0", "1.1", "nan"],
    "CAPTURE_ORIGINALS": ["maybe"],
    "TRACE_SAMPLE_FRAC": ["-0.1", "1.1", "nan"],
    "LOG_LEVEL": ["trace", "INFO"],
    "DRAIN_S": ["-1", "61", "nan", "inf"],
    "EMF": ["perhaps"],
    "CAPTURE_DIR": ["s3://bucket/spool", "file:///spool"],
    "POSTCODES": ["https://example.com/codes.txt"],
}


def test_an_empty_environment_gives_the_defaults():
    settings = load_settings()
    assert (settings.port, settings.auth, settings.error_target) == (3000, "auto", None)


def test_the_default_deadline_is_the_one_that_the_deployment_sets():
    assert load_settings().request_deadline_ms == 1000 * REQUEST_DEADLINE_S


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in MISTAKES.items() for value in values]
)
def test_a_mistake_is_refused_with_its_variable_and_value(monkeypatch, name, value):
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{PREFIX}{name}={value!r}: ")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_setting_is_refused_as_an_unset_one_is_meant(monkeypatch, name):
    monkeypatch.setenv(PREFIX + name.upper(), " ")
    with pytest.raises(ConfigError, match=f"^{PREFIX}{name.upper()}=' ': it is empty; give"):
        load_settings()


def test_a_long_value_is_not_shown_whole(monkeypatch):
    monkeypatch.setenv("DIGITS_PORT", "9" * 5000)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert len(str(caught.value)) < 250


def test_a_mistake_in_an_address_does_not_print_its_password(monkeypatch):
    monkeypatch.setenv("DIGITS_OTLP_ENDPOINT", "https://me:hunter2@collector:99999/v1")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_every_mistake_has_its_own_line(monkeypatch):
    monkeypatch.setenv("DIGITS_PORT", "x")
    monkeypatch.setenv("DIGITS_WORKERS", "0")
    monkeypatch.setenv("DIGITS_DRAIN_S", "-1")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("DIGITS_MAX_INFLIGHT", "DIGITS_MAX_IN_FLIGHT"),
        ("DIGITS_API_KEY_JSON", "DIGITS_API_KEYS_JSON"),
        ("digits_ports", "DIGITS_PORT"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_and_without_its_value(
    monkeypatch, name, nearest
):
    monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("DIGITS_PORT", "x")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    first, second = str(caught.value).splitlines()
    assert first == f"{name}: there is no such setting; the nearest is {nearest}"
    assert second.startswith("DIGITS_PORT='x'")


def test_variables_of_the_jobs_are_allowed(monkeypatch):
    for name in JOB_VARIABLES:
        monkeypatch.setenv(name, "x")
    load_settings()


def test_the_list_of_job_variables_is_what_the_jobs_read():
    text = "".join(
        path.read_text()
        for folder in ("capture", "monitoring", "training")
        for path in (ROOT / folder).rglob("*.py")
    )
    read = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text))
    assert read - {PREFIX + name.upper() for name in Settings.model_fields} == JOB_VARIABLES


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


def test_a_setting_is_read_from_its_variable(monkeypatch):
    monkeypatch.setenv("DIGITS_MAX_BATCH_SIZE", "8")
    monkeypatch.setenv("DIGITS_CAPTURE_DIR", "spool")
    settings = load_settings()
    assert settings.max_batch_size == 8
    assert settings.capture_dir == Path("spool")


def test_every_setting_has_a_meaning():
    assert all(field.description for field in Settings.model_fields.values())


def test_secrets_are_masked_and_sources_named(monkeypatch):
    monkeypatch.setenv("DIGITS_API_KEYS_JSON", '{"keys": ["hunter2"]}')
    rows = {name: (value, source) for name, value, source, _ in describe(load_settings())}
    assert "hunter2" not in str(rows)
    assert rows["DIGITS_API_KEYS_JSON"] == ("**********", "environment")
    assert rows["DIGITS_PORT"] == ("3000", "default")


@pytest.mark.parametrize(
    ("address", "printed"),
    [
        ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
        ("https://me:hunter2@collector/v1", "https://**********@collector/v1"),
        ("https://me:hun@ter2@collector/v1", "https://**********@collector/v1"),
        ("https://collector/v1?token=hunter2", "https://collector/v1?**********"),
    ],
)
def test_secrets_in_an_address_are_masked(monkeypatch, address, printed):
    monkeypatch.setenv("DIGITS_OTLP_ENDPOINT", address)
    values = {name: value for name, value, *_ in describe(load_settings())}
    assert values["DIGITS_OTLP_ENDPOINT"] == printed


def test_a_mistake_in_another_setting_does_not_print_a_secret(monkeypatch):
    monkeypatch.setenv("DIGITS_API_KEYS_JSON", "hunter2")
    monkeypatch.setenv("DIGITS_PORT", "x")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_the_document_has_a_row_for_every_setting():
    text = to_markdown()
    for name in Settings.model_fields:
        assert f"`{PREFIX}{name.upper()}`" in text


def test_the_committed_document_is_the_generated_one():
    path = ROOT / "docs" / "configuration.md"
    assert path.read_text() == to_markdown(), (
        "python -m serving.config --markdown > docs/configuration.md writes it again"
    )


def test_the_command_prints_the_values_in_force(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serving.config"])
    monkeypatch.setenv("DIGITS_PORT", "4000")
    assert config_text.main() == 0
    assert "4000  (environment)" in capsys.readouterr().out


def test_the_command_prints_mistakes_and_fails(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serving.config"])
    monkeypatch.setenv("DIGITS_PORT", "x")
    assert config_text.main() == 2
    assert "DIGITS_PORT='x'" in capsys.readouterr().err


def test_the_command_writes_the_document(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serving.config", "--markdown"])
    assert config_text.main() == 0
    assert capsys.readouterr().out == to_markdown()


def test_help_names_every_setting_with_its_default_and_starts_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serving", "--help"])
    monkeypatch.setenv("DIGITS_PORT", "x")
    with pytest.raises(SystemExit) as caught:
        serving_main.main()
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else str(field.default).lower()
        assert f"{PREFIX}{name.upper()} (default: {default})" in text


def test_a_service_with_a_mistake_does_not_start(monkeypatch):
    import os

    environment = {**os.environ, "DIGITS_PORT": "x", "DIGITS_AUTH": "maybe"}
    done = subprocess.run(
        [sys.executable, "-m", "serving"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("not starting: DIGITS_PORT='x': ")
    assert "DIGITS_AUTH='maybe'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_service_starts_in_an_environment_that_jobs_share():
    """Every variable of the jobs is known to it: an unknown one refuses the start."""
    root = Path(__file__).parents[2]
    text = "".join(
        path.read_text()
        for package in ("capture", "monitoring", "training")
        for path in (root / package).rglob("*.py")
    )
    of_jobs = set(re.findall(r'"(DIGITS_[A-Z_]+)"', text))
    known = {f"DIGITS_{name.upper()}" for name in config.Settings.model_fields}
    assert "DIGITS_DATA_STORE" in of_jobs
    assert of_jobs <= known | config.JOB_VARIABLES
