"""Every setting of the service: one frozen object, read once at start from ``DIGITS_*``.

``python -m serving.config`` prints them (`serving/config_text.py`).
"""

import os
import re
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

from pydantic import AnyHttpUrl, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "DIGITS_"
# Settings of capture, monitoring and training, which may share an environment with the service.
JOB_VARIABLES: Final = frozenset(
    PREFIX + name
    for name in (
        "ALERTS",
        "CAPTURE_KEEP_DAYS",
        "CAPTURE_STORE",
        "CONSOLE_DATABASE",
        "DATA_CACHE",
        "DATA_FOLDER",
        "DATA_LOCATION",
        "DATA_STORE",
        "MODEL_STORE",
        "PROMOTED_BY",
        "REPORTS",
        "REPORTS_URL",
        "RETRAIN_DRIFT",
        "RETRAIN_LABELS",
        "SMTP_PASSWORD",
        "TRAINING_WORK",
    )
)
# Beyond these a value is a mistake of the unit, and no limit at all.
_MAX_COUNT: Final = 1_000_000  # of requests or images at once
_MAX_BODY_BYTES: Final = 64_000_000  # half of what all bodies may hold (serving/edge/body.py)
_MAX_RPS: Final = 1_000_000.0
_SHOWN_CHARS: Final = 80  # of a value with a mistake
_URL_SECRET: Final = re.compile(r"(?<=//)[^/]*(?=@)|(?<=\?).+")  # user and password; query


class ConfigError(Exception):
    """The service refuses to start: a setting, or a file that it names, is unfit."""


class Settings(BaseSettings):
    """Settings of one service process. The variable is DIGITS_ and the name in upper case."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="IP address to listen on.")
    port: int = Field(3000, ge=1, le=65535, description="TCP port to listen on.")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Worker processes. Use one for each core; in a container, one for each task.",
    )
    error_target: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Largest fraction of accepted reads that may be wrong, on mail like the "
        "validation set. A lower value sends more crops to people. Unset: the model's default.",
    )
    champion: str | None = Field(
        None,
        description="Folder of the model, or s3://BUCKET/PREFIX. A running service verifies "
        "another model that is put there and exchanges it; at once on SIGHUP. Unset: the shipped "
        "folder.",
    )
    challenger: Path | None = Field(
        None,
        description="Folder of a second model that reads a share of the crops in shadow: its "
        "answers are recorded and counted, never sent. Unset: none.",
    )
    challenger_frac: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Fraction of the requests whose crops the challenger reads too, when the "
        "champion is idle; under load fewer.",
    )
    max_batch_size: int = Field(32, ge=1, le=256, description="Maximum images in one batch.")
    queue_limit: int = Field(
        1024,
        ge=2,
        le=_MAX_COUNT,
        description="Maximum images that wait for inference, at most half of them from one sender; "
        "beyond it 503.",
    )
    max_queue_wait_ms: int = Field(
        200, ge=1, le=60_000, description="Maximum predicted wait; beyond it 503."
    )
    max_in_flight: int = Field(
        1024,
        ge=2,
        le=_MAX_COUNT,
        description="Maximum requests in progress, at most half of them from one sender; beyond it "
        "429.",
    )
    request_deadline_ms: int = Field(
        2000, ge=50, le=60_000, description="Maximum time from arrival to answer; beyond it 504."
    )
    body_deadline_ms: int = Field(
        5000,
        ge=50,
        le=60_000,
        description="Maximum time until the body is complete; beyond it 408.",
    )
    max_body_bytes: int = Field(
        2_097_152,
        ge=1024,
        le=_MAX_BODY_BYTES,
        description="Maximum body size of a request with one crop; beyond it 413.",
    )
    max_bulk_body_bytes: int = Field(
        8_388_608,
        ge=1024,
        le=_MAX_BODY_BYTES,
        description="Maximum body size of a request with many crops; beyond it 413.",
    )
    rate_limit_rps: float = Field(
        20_000.0,
        ge=0.001,
        le=_MAX_RPS,
        description="Requests per second that one key may send to one worker; also its burst.",
    )
    auth: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether requests need an API key. auto: yes, unless the service listens on a "
        "loopback address and no keys are set.",
    )
    api_keys_file: Path | None = Field(
        None, description="JSON file of hashed API keys; python -m serving.keys new adds one."
    )
    api_keys_json: SecretStr | None = Field(
        None, description="The content of such a file, as a secrets manager injects it."
    )
    key_store: str | None = Field(
        None,
        description="ARN of a secret in AWS Secrets Manager with the content of such a file; read "
        "again every 20 s, so a revoked key is dead within a minute.",
    )
    capture_dir: Path | None = Field(
        None, description="Folder of the capture spool. Unset: nothing is captured."
    )
    capture_sample_frac: float = Field(
        1.0, gt=0, le=1, description="Fraction of requests that are captured."
    )
    audit_frac: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Fraction of the captured, accepted crops that is marked for people to check, "
        "so that wrong among accepted can be estimated.",
    )
    capture_originals: bool = Field(
        default=True, description="Also capture each crop as it was sent."
    )
    capture_fsync: bool = Field(
        default=False,
        description="Call fsync before each answer. Use it if the disk outlives the task.",
    )
    otlp_endpoint: str | None = Field(
        None, description="URL of an OpenTelemetry collector (OTLP over HTTP). Unset: no traces."
    )
    trace_sample_frac: float = Field(
        0.01, ge=0, le=1, description="Fraction of requests that are traced."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line to write."
    )
    site_breaker: Literal["off", "alert", "hold"] = Field(
        "hold",
        description="What happens to a site whose reads stop looking like its own. hold: its reads "
        "are answered, but not accepted, until it recovers or is released. alert: it is reported. "
        "A site that a person puts on hold is held in both modes.",
    )
    site_states_dir: Path | None = Field(
        None,
        description="Folder with what is known of each site; tasks that share it share holds. "
        "Unset: `sites` in DIGITS_CAPTURE_DIR.",
    )
    postcodes: Path | None = Field(
        None, description="File of valid postcodes, one per line. Unset: every code is valid."
    )
    drain_s: float = Field(
        10.0,
        ge=0,
        le=60,
        description="Seconds after SIGTERM in which readiness is red but requests are accepted.",
    )
    emf: bool = Field(
        default=False, description="Write CloudWatch embedded metric lines to stdout every 60 s."
    )
    release: str | None = Field(
        None,
        pattern=r"^[\w.-]{1,128}$",
        description="Name of the running release: the dimension `Version` of the metrics in those "
        "lines that compare a canary with the version before it.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_not_empty(cls, value: object) -> object:
        """An empty path would be the working directory, an empty key file no keys."""
        if isinstance(value, str) and not value.strip():
            raise ValueError("it is empty; give a value, or leave the variable unset")
        return value

    @field_validator(
        "challenger", "api_keys_file", "capture_dir", "site_states_dir", "postcodes", mode="before"
    )
    @classmethod
    def _is_local_path(cls, path: object) -> object:
        """s3://bucket would be a folder `s3:` in the working directory."""
        if isinstance(path, str) and "://" in path:
            raise ValueError("it is a URL; give a path on this machine")
        return path

    @field_validator("host")
    @classmethod
    def _is_address(cls, host: str) -> str:
        ip_address(host)  # its error says what is wrong
        return host

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None:
            TypeAdapter(AnyHttpUrl).validate_python(url)
        return url


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigError: one line for each mistake, with the variable, its value and the limit.
    """
    mistakes = _unknown_variables()
    try:
        settings = Settings()  # type: ignore[call-arg]  # all fields have defaults
    except ValidationError as error:
        mistakes += [_describe(mistake) for mistake in error.errors()]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return settings


def _unknown_variables() -> list[str]:
    """A line for each variable that nothing reads: a misspelt limit would not be set."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | JOB_VARIABLES
    lines = []
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            nearest = get_close_matches(name.upper(), known, n=1, cutoff=0.0)[0]
            lines.append(f"{name}: there is no such setting; the nearest is {nearest}")
    return lines


def _describe(mistake: object) -> str:
    assert isinstance(mistake, dict)
    name = PREFIX + "_".join(str(part) for part in mistake["loc"]).upper()
    value = mistake["input"]
    if isinstance(value, str) and len(value) > _SHOWN_CHARS:
        value = value[:_SHOWN_CHARS] + "..."
    return f"{name}={masked(repr(value))}: {mistake['msg'].removeprefix('Value error, ')}"


def masked(text: str) -> str:
    """The text without the user, the password and the query of a URL."""
    return _URL_SECRET.sub("**********", text)


if __name__ == "__main__":
    from serving.config_text import main

    raise SystemExit(main())
