from __future__ import annotations

import email
import json
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from capture.store import open_store
from monitoring import alerts
from monitoring.alerts import flush, notify
from monitoring.events import Event
from monitoring.findings import Severity
from monitoring.sinks import SinkError, open_sink


def event(severity: Severity = Severity.ACT, day: str = "2026-11-20", sites=("Fano",)) -> Event:
    return Event(
        topic="drift",
        severity=severity,
        title=f"Drift: act now ({day})",
        details=("20 % of crops are rejected",),
        sites=tuple(sites),
        since=day,
        window=day,
        link=f"https://reports/{day}/index.html",
        to_do="Look at the crops.",
    )


@pytest.fixture
def reports(tmp_path):
    return open_store(str(tmp_path / "reports"))


@pytest.fixture
def told(tmp_path):
    """A file sink, and a function that reads what it received."""
    path = tmp_path / "alerts.jsonl"

    def read() -> list[tuple[int, str]]:
        if not path.exists():
            return []
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [(line["severity"], line["since"]) for line in lines]

    return f"file:{path}", read


def days(reports, sink, severities, sites=()) -> None:
    for number, severity in enumerate(severities, start=1):
        notify(reports, [sink], event(severity, f"2026-11-0{number}", sites))
        flush(reports, sleep=lambda _: None)


def test_a_calm_start_notifies_nobody(reports, told):
    sink, read = told
    days(reports, sink, [Severity.CALM, Severity.CALM])
    assert read() == []


def test_the_same_problem_is_sent_once_and_its_end_once(reports, told):
    sink, read = told
    act, calm = Severity.ACT, Severity.CALM
    days(reports, sink, [act, act, act, calm, calm])
    assert read() == [(2, "2026-11-01"), (0, "2026-11-01")]


def test_a_new_severity_is_sent_and_keeps_the_start_date(reports, told):
    sink, read = told
    days(reports, sink, [Severity.WATCH, Severity.ACT, Severity.WATCH])
    assert read() == [(1, "2026-11-01"), (2, "2026-11-01"), (1, "2026-11-01")]


def test_a_second_problem_has_its_own_start_date(reports, told):
    sink, read = told
    days(reports, sink, [Severity.ACT, Severity.CALM, Severity.ACT])
    assert read()[-1] == (2, "2026-11-03")


def days_of_sites(reports, tmp_path, days, judged=("a", "b")) -> list[dict]:
    """Notify of the sites of each day, calm where there are none; returns what was sent."""
    for day, sites in enumerate(days, start=1):
        severity = Severity.ACT if sites else Severity.CALM
        told = event(severity, f"2026-11-0{day}", sites)
        notify(reports, [f"file:{tmp_path / 'sites.jsonl'}"], told, judged=judged)
        flush(reports, sleep=lambda _: None)
    return [json.loads(line) for line in (tmp_path / "sites.jsonl").read_text().splitlines()]


def test_a_site_that_relapses_is_sent_again(reports, tmp_path):
    sent = days_of_sites(reports, tmp_path, [("a", "b"), ("b",), ("a", "b"), ("a", "b")])
    assert [one["sites"] for one in sent] == [["a", "b"], ["b"], ["a", "b"]]


def test_the_end_names_the_sites_that_recovered(reports, tmp_path):
    end = days_of_sites(reports, tmp_path, [("a", "b"), ()])[-1]
    assert end["sites"] == ["a", "b"]
    assert "site a: nothing stands out any more" in end["details"]


def test_a_site_that_recovers_while_another_does_not_is_told(reports, tmp_path):
    sent = days_of_sites(reports, tmp_path, [("a", "b"), ("b",)])[-1]
    assert "site a: nothing stands out any more" in sent["details"]
    assert sent["sites"] == ["b"]


def test_a_site_with_too_little_mail_has_not_recovered(reports, tmp_path):
    sent = days_of_sites(reports, tmp_path, [("a", "b"), ("b",)], judged=("b",))[-1]
    assert "site a: too little mail to be judged" in sent["details"]


def test_a_sink_that_is_down_loses_no_event_and_delays_no_other_sink(reports, told, tmp_path):
    sink, read = told
    (tmp_path / "blocked").write_text("a file where a folder should be")
    down = f"file:{tmp_path / 'blocked' / 'alerts.jsonl'}"
    notify(reports, [down, sink], event(Severity.WATCH))
    assert flush(reports, sleep=lambda _: None) == 1
    assert read() == [(1, "2026-11-20")]
    notify(reports, [down, sink], event(Severity.ACT, "2026-11-21"))
    assert flush(reports, sleep=lambda _: None) == 2
    (tmp_path / "blocked").unlink()
    assert flush(reports, sleep=lambda _: None) == 0
    assert len((tmp_path / "blocked" / "alerts.jsonl").read_text().splitlines()) == 2
    assert len(read()) == 2


def test_a_run_killed_before_it_saves_its_state_sends_no_duplicate(reports, told, monkeypatch):
    sink, read = told
    with monkeypatch.context() as patch:
        patch.setattr(alerts, "_write_state", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            notify(reports, [sink], event())
    notify(reports, [sink], event())
    flush(reports, sleep=lambda _: None)
    assert len(read()) == 1


def test_a_refused_delivery_is_tried_three_times_with_pauses(reports, tmp_path):
    (tmp_path / "blocked").write_text("")
    notify(reports, [f"file:{tmp_path / 'blocked' / 'a'}"], event())
    pauses: list[float] = []
    flush(reports, sleep=pauses.append)
    assert pauses == [0.0, 1.0, 4.0]


def test_the_log_has_the_whole_event(caplog):
    with caplog.at_level(logging.INFO):
        open_sink("log:")(event())
    assert json.loads(caplog.records[-1].getMessage().removeprefix("ALERT "))["sites"] == ["Fano"]


@pytest.fixture
def webhook():
    """A webhook on loopback with a status that a test can set."""
    received, answers = [], [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", received, answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_text_that_slack_shows(webhook):
    url, received, _ = webhook
    open_sink(url)(event())
    (body,) = received
    assert body["text"].startswith("Drift: act now (2026-11-20)\n")
    for part in ("Sites: Fano", "What to do: Look at the crops.", "https://reports/2026-11-20"):
        assert part in body["text"]


def test_a_webhook_that_refuses_is_an_error_without_its_secret_path(webhook):
    url, _, answers = webhook
    answers[0] = 500
    with pytest.raises(SinkError, match=r"webhook at 127\.0\.0\.1: HTTP Error 500") as error:
        open_sink(url)(event())
    assert "hook/" not in str(error.value)


def test_sns_gets_subject_and_text(s3):
    sns, sqs = boto3.client("sns"), boto3.client("sqs")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:eu-west-1:123456789012:inbox"
    )
    open_sink(f"sns:{topic}")(event())
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    assert body["Subject"] == "Drift: act now (2026-11-20)"
    assert "Sites: Fano" in body["Message"]


def test_an_sns_topic_that_is_gone_is_an_error(s3):
    with pytest.raises(SinkError, match="SNS"):
        open_sink("sns:arn:aws:sns:eu-west-1:123456789012:gone")(event())


@pytest.fixture
def mail_server():
    """A mail server that accepts one message."""
    listening = socket.create_server(("127.0.0.1", 0))
    received: list[str] = []

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(b"220 ready\r\n")
            for line in lines:
                command = line[:4].upper()
                if command == b"DATA":
                    connection.sendall(b"354 go on\r\n")
                    body = []
                    while (part := lines.readline()) != b".\r\n":
                        body.append(part)
                    received.append(b"".join(body).decode())
                connection.sendall(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")
                if command == b"QUIT":
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1], received
    listening.close()
    thread.join(timeout=5)


def test_a_mail_has_subject_recipients_and_text(mail_server):
    port, received = mail_server
    open_sink(f"smtp://127.0.0.1:{port}/?from=digits@post.example&to=a@b.example&to=c@d.example")(
        event()
    )
    message = email.message_from_string(received[0])
    assert message["Subject"] == "Drift: act now (2026-11-20)"
    assert message["To"] == "a@b.example, c@d.example"
    assert "What to do: Look at the crops." in message.get_payload()


def test_a_mail_server_that_is_down_is_an_error():
    with pytest.raises(SinkError, match="SMTP"):
        open_sink("smtp://127.0.0.1:1/?from=a@b.example&to=c@d.example")(event())


@pytest.mark.parametrize("sink", ["", "pager:1", "alerts.jsonl"])
def test_other_sinks_are_refused(sink):
    with pytest.raises(ValueError, match="no alert sink"):
        open_sink(sink)
