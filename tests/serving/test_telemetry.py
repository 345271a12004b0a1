import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from asgi import form, npy
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, Histogram

from model.artifact import load
from model.decision import BLANK
from serving.config import Settings
from serving.reading.reader import Reader
from serving.request_telemetry import BatchHistogram, EmfWriter
from serving.served_model import build_model
from serving.telemetry import Telemetry
from serving.tracing import Tracer

ROOT = Path(__file__).parents[2]
MODEL = SimpleNamespace(version="3", sha256="ab" * 32)


@pytest.fixture
async def reading(tiny_champion, crops):
    model = build_model(load(tiny_champion), None)
    reader = Reader(model, Settings(), lambda stats: None, lambda *batch: {})
    yield await reader.read(crops[0].png)
    reader.close()


def test_embedded_metrics_are_one_line_of_json_a_minute():
    lines = []
    writer = EmfWriter(lines.append)
    writer.add("Requests")
    writer.add("Requests")
    writer.add("Shed")
    started_s = time.monotonic()
    writer.flush_if_due({"InFlight": 3}, started_s + 59)
    assert lines == []
    writer.flush_if_due({"InFlight": 3}, started_s + 61)
    (line,) = lines
    assert line.endswith("\n")
    content = json.loads(line)
    assert (content["Requests"], content["Shed"], content["InFlight"]) == (2, 1, 3)
    (directive,) = content["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Digitline"
    assert directive["Dimensions"] == [["Service"]]
    assert content["Service"] == "digits"
    assert {one["Name"] for one in directive["Metrics"]} <= set(content)


def test_a_release_counts_its_rejects_by_version_too():
    lines = []
    writer = EmfWriter(lines.append, version="champion-6-1a2b3c4")
    writer.add("Rejected", 3)
    writer.flush_if_due({}, time.monotonic() + 61)
    line = json.loads(lines[0])
    overall, by_version = line["_aws"]["CloudWatchMetrics"]
    assert overall["Dimensions"] == [["Service"]]
    assert by_version["Dimensions"] == [["Service", "Version"]]
    assert [metric["Name"] for metric in by_version["Metrics"]] == ["Accepted", "Rejected"]
    assert (line["Version"], line["Rejected"]) == ("champion-6-1a2b3c4", 3)


def test_embedded_metrics_start_again_from_zero():
    lines = []
    writer = EmfWriter(lines.append)
    writer.add("Requests")
    started_s = time.monotonic()
    writer.flush_if_due({}, started_s + 61)
    writer.flush_if_due({}, started_s + 122)
    assert [json.loads(line)["Requests"] for line in lines] == [1, 0]


def test_the_age_of_the_keys_starts_again_when_they_are_read(monkeypatch):
    lines = []
    monkeypatch.setattr(
        "serving.request_telemetry.EmfWriter", lambda **options: EmfWriter(lines.append, **options)
    )
    clock = iter([0.0, 0.0, 100.0])  # the keys', the line's, and of the second reading
    monkeypatch.setattr("serving.request_telemetry.time.monotonic", lambda: next(clock))
    telemetry = Telemetry(Settings(emf=True), MODEL)
    telemetry.tick(0, 90.0)
    telemetry.on_keys_read()
    telemetry.tick(0, 160.0)
    assert [json.loads(line)["KeysAgeSeconds"] for line in lines] == [90, 60]


async def test_a_reading_is_counted_by_outcome_and_digit(reading):
    telemetry = Telemetry(Settings(), MODEL)
    for _ in range(16):
        telemetry.on_readings([reading], "leeds", guard_ms=0.1)
    text = telemetry.exposition().decode()
    assert 'digits_decisions_total{outcome="accepted",site="leeds"} 16.0' in text
    assert f'digits_digit_total{{digit="{reading.decision.digit}"}} 16.0' in text
    for stage in ("guard", "decode", "preprocess", "inference", "decision"):
        assert f'digits_stage_duration_seconds_count{{stage="{stage}"}} 2.0' in text


async def test_a_bundle_shows_its_stages_once(reading):
    telemetry = Telemetry(Settings(), MODEL)
    telemetry.on_readings([reading] * 256, "leeds", guard_ms=0.1)
    telemetry.on_readings([reading] * 7, "leeds", guard_ms=0.1)
    assert 'digits_stage_duration_seconds_count{stage="inference"} 1.0' in (
        telemetry.exposition().decode()
    )


async def test_a_blank_crop_is_counted_but_has_no_confidence(reading):
    telemetry = Telemetry(Settings(), MODEL)
    telemetry.on_readings([reading._replace(decision=BLANK), reading], "leeds", guard_ms=0.1)
    telemetry.on_readings([reading._replace(decision=BLANK)], "leeds", guard_ms=0.1)
    text = telemetry.exposition().decode()
    assert 'digits_decisions_total{outcome="blank",site="leeds"} 2.0' in text
    assert "digits_confidence_count 1.0" in text


def test_many_values_at_once_are_the_same_as_one_by_one():
    bounds = (0.5, 0.9, 1.0)
    amounts = [0.1, 0.5, 0.50001, 0.9, 1.0, 1.0, 7.0]
    together, singly = CollectorRegistry(), CollectorRegistry()
    BatchHistogram("h", "help", registry=together, buckets=bounds).observe_all(amounts)
    one_by_one = Histogram("h", "help", registry=singly, buckets=bounds)
    for amount in amounts:
        one_by_one.observe(amount)

    def values(registry):
        samples = [one for metric in registry.collect() for one in metric.samples]
        return {
            (one.name, *one.labels.values()): pytest.approx(one.value)
            for one in samples
            if not one.name.endswith("_created")
        }

    assert values(together) == values(singly)
    assert values(together)[("h_count",)] == 7


def test_the_model_is_named_in_the_metrics():
    text = Telemetry(Settings(), MODEL).exposition().decode()
    assert 'digits_model_info{sha256="abababababab",version="3"} 1.0' in text


def test_nothing_is_traced_without_a_collector():
    assert not Tracer(Settings(trace_sample_frac=1.0)).wants()


async def test_a_traced_request_is_a_span_with_its_stages_inside(reading, monkeypatch):
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda **_: exporter)
    tracer = Tracer(Settings(otlp_endpoint="http://127.0.0.1:9/v1/traces", trace_sample_frac=1.0))
    assert tracer.wants()
    tracer.record(reading, request_id="r-1", endpoint="digit", guard_ms=0.2, total_ms=50.0)
    tracer.close()
    *stages, root = exporter.get_finished_spans()
    assert [span.name for span in stages] == [
        "guard", "decode", "preprocess", "inference", "decision",
    ]  # fmt: skip
    assert root.attributes["digits.request_id"] == "r-1"
    for span in stages:
        assert span.parent.span_id == root.context.span_id
        assert root.start_time <= span.start_time <= span.end_time


LOG = """
from serving.logs import configure_logging
import structlog
configure_logging("warning")
log = structlog.get_logger()
log.info("quiet")
try:
    1 / 0
except ZeroDivisionError as error:
    log.error("loud", request_id="r-1", exc_info=error)
"""


def test_logs_are_json_lines_on_stderr_of_the_level_asked_for():
    done = subprocess.run(
        [sys.executable, "-c", LOG],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    (line,) = done.stderr.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["request_id"]) == ("loud", "error", "r-1")
    assert "ZeroDivisionError" in entry["exception"]
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("path", "num_files", "traffic"),
    [
        ("/v1/digits", 1, "scanner"),
        ("/v1/digits", 2, "bulk"),
        ("/v1/postcode", 5, "scanner"),
    ],
)
async def test_the_time_of_a_bulk_request_is_apart_from_scanners(
    serve, crops, path, num_files, traffic
):
    client = await serve()
    kind, body = form(*(crop.png for crop in crops[:num_files]))
    assert (await client.post(path, body, kind)).status == 200
    assert await _traffic_of(client, path.rpartition("/")[2]) == {traffic}


async def test_a_packed_postcode_is_bulk(serve, images):
    client = await serve()
    packed = (images[:5, 0] * 255).round().astype(np.uint8)
    assert (await client.post("/v1/postcode", npy(packed), "application/x-npy")).status == 200
    assert await _traffic_of(client, "postcode") == {"bulk"}


async def test_probes_and_refusals_do_not_mix_with_scanners(serve):
    client = await serve()
    await client.get("/livez")
    assert (await client.post("/v1/digit", b"")).status == 400
    assert await _traffic_of(client, "livez") == {"other"}
    assert await _traffic_of(client, "digit") == {"scanner"}


async def _traffic_of(client, endpoint):
    """The kinds of traffic that the histogram of an endpoint has counted."""
    text = (await client.get("/metrics")).body.decode()
    name = "digits_request_duration_seconds_count"
    return set(re.findall(rf'{name}{{endpoint="{endpoint}",traffic="(\w+)"}}', text))
