"""`digitline read` and `digitline doctor`, against a service on a socket."""

import csv
import io
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_offline import model_of

from digitline import command, doctor, service_way
from digitline.doctor import Doctor
from digitline.file_reading import Counts, FileReading, bar, read_files
from loadtest.faults.own_certificate import write_certificate
from model.artifact import load


class Facts:
    """What the service answers; a test changes it."""

    def __init__(self):
        self.key = None
        self.skew_s = 0
        self.model = model_of()
        self.golden_digit = load().golden.digit
        self.livez = (200, {"status": "ok", "reasons": []})
        self.paths = []


@pytest.fixture
def facts():
    return Facts()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def date_time_string(self, timestamp=None):
        return format_datetime(
            datetime.now(UTC) + timedelta(seconds=self.server.facts.skew_s), usegmt=True
        )

    def do_GET(self):
        self.server.facts.paths.append(self.path)
        if self.path == "/livez":
            return self.answer(*self.server.facts.livez)
        return self.answer(200, self.server.facts.model) if self.is_allowed() else None

    def do_POST(self):
        self.server.facts.paths.append(self.path)
        crop = self.rfile.read(int(self.headers["content-length"]))
        if not self.is_allowed():
            return None
        reading = {
            "digit": self.server.facts.golden_digit, "confidence": 0.99, "accepted": True,
            "candidates": [], "request_id": self.headers["x-request-id"], "read_id": "r",
            "model_version": "7",
        }  # fmt: skip
        if self.path == "/v1/explain":
            return self.answer(200, {"results": [reading]})
        if not crop.startswith(b"\x89PNG"):
            return self.problem(415)
        return self.answer(200, reading)

    def is_allowed(self):
        if (
            self.server.facts.key is None
            or self.headers["authorization"] == f"Bearer {self.server.facts.key}"
        ):
            return True
        self.problem(401)
        return False

    def problem(self, status):
        body = {"type": "urn:digitline:problem:x", "status": status, "detail": "why"}
        self.answer(status, body)

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def serve(facts, context=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.facts = facts
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def url(facts):
    for port in serve(facts):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def files(tmp_path, crops):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, crop in zip(paths, crops, strict=False):
        path.write_bytes(crop.png)
    return paths


def run(url, *arguments):
    return command.main([arguments[0], "--url", url, *map(str, arguments[1:])])


def test_read_prints_a_line_for_each_file_in_order(url, files, capsys):
    assert run(url, "read", *files) == command.ALL_WELL
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [str(path) for path in files]
    assert all(line.split()[1:] == ["7", "0.9900", "accepted"] for line in lines)


def test_read_gives_csv_and_json_with_the_same_content(url, files, capsys):
    run(url, "read", *files, "--format", "csv")
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    run(url, "read", *files, "--format", "json")
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        {name: "" if value is None else str(value) for name, value in one.items()}
        for one in objects
    ]
    assert objects[0]["digit"] == 7
    assert objects[0]["read_id"] == "r"


def test_a_bad_or_missing_file_is_told_and_the_others_are_read(url, files, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    arguments = (files[0], tmp_path / "text.png", tmp_path / "missing.png", files[1])
    assert run(url, "read", *arguments) == command.SOME_BAD
    lines = capsys.readouterr().out.splitlines()
    assert [("accepted" in line, "not read" in line) for line in lines] == [
        (True, False), (False, True), (False, True), (True, False)
    ]  # fmt: skip
    assert "415 why" in lines[1]
    assert "No such file" in lines[2]


def test_what_is_no_file_of_a_crops_size_is_told_and_not_read(url, files, tmp_path, capsys):
    large, pipe = tmp_path / "large.png", tmp_path / "pipe"
    with large.open("wb") as file:
        file.truncate(20_000_000_000)
    os.mkfifo(pipe)
    assert run(url, "read", large, pipe, tmp_path, files[0]) == command.SOME_BAD
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert "20,000,000,000 bytes; a crop has at most 8,000,000" in first
    assert "is no file" in second
    assert "is no file" in third
    assert "accepted" in last


def test_a_name_of_a_file_cannot_steer_the_terminal(url, files, tmp_path, capsys):
    odd = tmp_path / "a\nb\x1b[31m.png"
    odd.write_bytes(files[0].read_bytes())
    assert run(url, "read", odd) == command.ALL_WELL
    (line,) = capsys.readouterr().out.splitlines()
    assert "\x1b" not in line


def test_a_name_of_a_file_that_is_no_text_is_printed_all_the_same(url, files, tmp_path):
    odd = tmp_path / os.fsdecode(b"a\xff.png")
    odd.write_bytes(files[0].read_bytes())
    ran = subprocess.run(
        [sys.executable, "-m", "digitline", "read", "--url", url, "--format", "csv", odd],
        env={**os.environ, "PYTHONPATH": "sdk/src", "PYTHONIOENCODING": "utf-8"},
        capture_output=True, check=False,
    )  # fmt: skip
    assert ran.returncode == command.ALL_WELL, ran.stderr
    assert b"a\\udcff.png" in ran.stdout


def test_through_a_proxy_doctor_looks_for_the_proxy(packed, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{taken.getsockname()[1]}")
        found = findings("http://no-such-name.test")
    assert list(found) == ["proxy", "DNS", "connection", "offline"]
    assert failed(found) == {"connection"}
    monkeypatch.setenv("NO_PROXY", "no-such-name.test")
    assert "proxy" not in findings("http://no-such-name.test")


@pytest.mark.parametrize("model", [{}, {"version": 1, "sha256": 2, "thresholds": 3}], ids=str)
def test_a_foreign_answer_about_the_model_is_found(packed, url, facts, model):
    facts.model = model
    assert len(failed(findings(url)) & {"key", "model"}) == 1


def test_a_spool_that_cannot_be_used_is_found(packed, url, tmp_path):
    path = tmp_path / "reads.db"
    path.write_bytes(b"no database" * 1000)
    found = findings(url, spool=path)
    assert failed(found) == {"spool"}
    assert "move the file away" in found["spool"].text


def test_read_without_a_service_has_an_exit_code_of_its_own(files, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert run(url, "read", files[0], "--deadline-ms", "300") == command.NO_SERVICE
    assert "digitline doctor" in capsys.readouterr().out


def test_a_refused_key_ends_reading_at_once(url, files, facts, capsys):
    facts.key = "right"
    assert run(url, "read", *files) == command.NO_SERVICE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "401 why" in captured.err


def test_the_key_comes_from_a_file_or_the_environment(url, files, facts, tmp_path, monkeypatch):
    facts.key = "right"
    (tmp_path / "key").write_text("right\n")
    assert run(url, "read", *files, "--key-file", tmp_path / "key") == command.ALL_WELL
    monkeypatch.setenv("DIGITLINE_KEY", "right")
    assert run(url, "read", *files) == command.ALL_WELL


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--at-once", "0"], "--at-once is 0; give 1 to 64"),
        (["--deadline-ms", "0"], "deadline_ms is 0"),
        (["--key-file", "/dev/null"], "must hold one key"),
    ],
)
def test_wrong_use_is_told(url, files, capsys, arguments, told):
    assert run(url, "read", files[0], *arguments) == command.WRONG_USE
    assert told in capsys.readouterr().err


def test_read_goes_on_offline(packed, files, tmp_path, capsys, crops):
    spool = tmp_path / "reads.db"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        code = run(url, "read", *files, "--offline", spool, "--format", "json")
    assert code == command.ALL_WELL
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["digit"] for one in objects] == [crop.label for crop in crops[:3]]
    assert {one["source"] for one in objects} == {"local"}
    assert doctor._of_spool(spool).text.startswith("3 reads wait")


def test_the_progress_bar_ends_full(url, files):
    progress = io.StringIO()
    reading = FileReading(url, None, 2000, 2, None, "text")
    counts = read_files(reading, files, out=io.StringIO(), progress=progress)
    assert (counts.read, counts.done) == (3, 3)
    last = progress.getvalue().rstrip().split("\x1b[K")[-1]
    assert last == f"[{'#' * 30}] 3 of 3"
    assert bar(Counts(read=1, not_accepted=1, bad=1), 4) == (
        f"[{'#' * 15}{'.' * 15}] 2 of 4, 1 not accepted, 1 not read"
    )


def findings(url, key=None, spool=None):
    return {one.check: one for one in Doctor(url, key, 150.0, spool).findings()}


def failed(found):
    return {name for name, one in found.items() if one.status == "failed"}


def test_a_healthy_way_has_no_failure_and_leaves_no_record(packed, url, facts):
    found = findings(url)
    assert not failed(found)
    assert list(found) == ["DNS", "connection", "TLS", "service", "clock", "latency", "key",
                           "model", "golden crop", "offline"]  # fmt: skip
    assert found["model"].text.endswith("the same as in this package")
    assert "/v1/digit" not in facts.paths
    assert command.main(["doctor", "--url", url]) == command.ALL_WELL


def test_a_name_that_does_not_resolve_is_found(packed, monkeypatch, capsys):
    def unknown(*arguments, **named):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = findings("https://digits.example")
    assert list(found) == ["DNS", "offline"]
    assert failed(found) == {"DNS"}
    assert command.main(["doctor", "--url", "https://digits.example"]) == command.SOME_BAD
    assert "check the name" in capsys.readouterr().out


def test_a_closed_port_is_found(packed):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = findings(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert failed(found) == {"connection"}


def test_an_address_without_a_scheme_is_found(packed):
    assert failed(findings("localhost:3000")) == {"address"}


def test_another_server_is_found(packed, url, facts):
    facts.livez = (404, {})
    assert failed(findings(url)) == {"service"}


@pytest.mark.parametrize("skew_s", [-90, 90])
def test_a_wrong_clock_is_found(packed, url, facts, skew_s):
    facts.skew_s = skew_s
    found = findings(url)
    assert failed(found) == {"clock"}
    assert ("ahead" if skew_s < 0 else "behind") in found["clock"].text


def test_a_refused_key_is_found(packed, url, facts):
    facts.key = "right"
    assert failed(findings(url)) == {"key"}
    assert "DIGITLINE_KEY" in findings(url)["key"].remedy
    assert not failed(findings(url, "right"))


def test_another_model_is_found(packed, url, facts):
    facts.model = model_of(sha256="other", version="8")
    found = findings(url)
    assert found["model"].status == "warning"
    assert "version 8; this package has version" in found["model"].text


def test_a_service_that_misreads_the_golden_crop_is_found(packed, url, facts):
    facts.golden_digit = (facts.golden_digit + 1) % 10
    assert failed(findings(url)) == {"golden crop"}


def test_an_answer_that_is_not_this_machines_to_the_bit_is_found(packed, url):
    assert "this machine" in findings(url)["golden crop"].text  # 0.99 is not what the model says
    assert findings(url)["golden crop"].status == "warning"


def test_a_spool_that_dropped_reads_is_found(packed, url, tmp_path):
    from test_offline_spool import OfflineSpool, local

    spool = OfflineSpool(tmp_path / "reads.db", max_bytes=3000)
    for number in range(3):
        spool.add(bytes(2000), local(f"r{number}"))
    spool.close()
    found = findings(url, spool=tmp_path / "reads.db")["spool"]
    assert (found.status, found.text) == (
        "warning", "1 reads wait, 0 were answered, 2 were dropped"
    )  # fmt: skip
    assert failed(findings(url, spool=tmp_path / "no.db")) == {"spool"}


def tls_finding(facts, path, host="localhost", **dates):
    context = write_certificate(path, "localhost", **dates)
    for port in serve(facts, context):
        finding = service_way._shake_hands(host, port)
    return finding


def test_a_certificate_of_an_unknown_authority_is_found(facts, tmp_path):
    finding = tls_finding(facts, tmp_path / "it.pem")
    assert finding.status == "failed"
    assert "certificate is refused" in finding.text
    assert "SSL_CERT_FILE" in finding.remedy


@pytest.mark.parametrize(
    ("host", "dates", "text", "remedy"),
    [
        ("localhost", {"days": -1}, "expired", "renew"),
        ("localhost", {"begins_in_days": 1}, "not yet valid", "clock"),
        ("127.0.0.1", {}, "IP address mismatch", "write the name"),
        ("ip6-localhost", {}, "Hostname mismatch", "write the name"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said_with_what_to_do(
    facts, tmp_path, monkeypatch, host, dates, text, remedy
):
    real = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda to, *rest: real(("127.0.0.1", to[1])))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "it.pem"))
    finding = tls_finding(facts, tmp_path / "it.pem", host, **dates)
    assert finding.status == "failed"
    assert text in finding.text
    assert remedy in finding.remedy


def test_a_certificate_that_ends_soon_is_found(facts, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "it.pem"))
    finding = tls_finding(facts, tmp_path / "it.pem", days=5)
    assert (finding.status, finding.remedy) == ("warning", "tell the operator to renew it")


def test_an_authority_that_only_this_machine_knows_is_not_one_that_reads_trust(
    facts, tmp_path, monkeypatch
):
    """A read trusts certifi's list or SSL_CERT_FILE; doctor must not say that all is well."""
    real = ssl.create_default_context

    def trusting(*arguments, **named):
        context = real(*arguments, **named)
        if not named.get("cafile"):
            context.load_verify_locations(tmp_path / "it.pem")
        return context

    monkeypatch.setattr(ssl, "create_default_context", trusting)
    assert tls_finding(facts, tmp_path / "it.pem").status == "failed"


def test_a_port_without_tls_is_found(url):
    finding = service_way._shake_hands("127.0.0.1", int(url.rpartition(":")[2]))
    assert finding.status == "failed"
    assert "http://" in finding.remedy
