"""A collector receives the spans of requests: one for the request, five for its stages."""

import http.server
import threading
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.acceptance.harness import Report, Service, one_crop, only_ours

STAGES = ["guard", "decode", "preprocess", "inference", "decision"]
NUM = 20


def traces(report: Report, kind: str) -> None:
    """With a collector, and with one that does not answer."""
    only_ours(kind)
    received: list[bytes] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
        ids = _serve_and_stop(report, endpoint)
        collector.shutdown()
    spans = [
        span
        for body in received
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    roots = {span.span_id: span for span in spans if not span.parent_span_id}
    children: dict[bytes, list[str]] = {}
    for span in sorted(spans, key=lambda span: span.start_time_unix_nano):
        if span.parent_span_id:
            children.setdefault(span.parent_span_id, []).append(span.name)
            root = roots[span.parent_span_id]
            report.expect(
                "a stage lies within its request",
                root.start_time_unix_nano - 1000
                <= span.start_time_unix_nano
                <= span.end_time_unix_nano
                <= root.end_time_unix_nano + 1000,
            )
    report.fact("requests", len(ids))
    report.fact("request_spans", len(roots))
    report.fact("stages", sorted({" ".join(names) for names in children.values()}))
    told = {
        attribute.value.string_value for root in roots.values() for attribute in root.attributes
    }
    report.expect("every request has its span", ids <= told)
    report.expect(
        "with five stages in order",
        len(children) == len(roots) and all(names == STAGES for names in children.values()),
    )
    gone = _serve_and_stop(report, endpoint)
    report.fact("requests_answered_without_a_collector", len(gone))


def _serve_and_stop(report: Report, endpoint: str) -> set[str]:
    env = {
        "DIGITS_OTLP_ENDPOINT": endpoint,
        "DIGITS_TRACE_SAMPLE_FRAC": "1",
        "DIGITS_DRAIN_S": "0",
    }
    ids = set()
    with Service(env=env) as service:
        for _ in range(NUM):
            status, headers, _ = service.read(one_crop())
            report.expect("answered", status == 200)
            ids.add(headers["x-request-id"])
        begun = time.perf_counter()
        code = service.stop(grace_s=30)
        report.fact("stop_s", time.perf_counter() - begun)
        report.expect("ends within 10 s", code == 0 and time.perf_counter() - begun < 10)
    return ids


CHECKS = {"traces": traces}
