"""Keys, bodies and images never appear in the log."""

import base64
import contextlib
import json
import secrets

from loadtest import digit_crops
from serving.edge.key_ring import new_key
from tests.acceptance.harness import Report, Service, only_ours

MARK = "IMAGE-BYTES-THAT-MUST-NOT-BE-LOGGED"


def logs(report: Report, kind: str) -> None:
    """Good, bad and unauthorised requests at log level debug; then search the log."""
    only_ours(kind)
    key, entry = new_key("site-1", ["predict"], None)
    _, old = new_key("site-2", ["predict"], "2020-01-01T00:00:00Z")
    wrong = secrets.token_urlsafe(32)
    png = digit_crops.load()[0].png
    marked = png + MARK.encode()
    env = {
        "DIGITS_AUTH": "on",
        "DIGITS_LOG_LEVEL": "debug",
        "DIGITS_API_KEYS_JSON": json.dumps({"keys": [entry, old]}),
        "DIGITS_MAX_QUEUE_WAIT_MS": "1",
    }
    with Service(env=env, faults=True) as service:
        bodies = [png, marked, png[:50] + MARK.encode(), MARK.encode(), b"", marked * 4000]
        types = ["image/png", "image/jpeg", "text/plain", "application/json", "application/x-npy"]
        paths = [
            "/v1/digit",
            "/v1/digits",
            "/v1/postcode",
            "/v1/field",
            "/v2/models/digits/infer",
            "/classify",
        ]
        num = 0
        for faults in ({}, {"raise_above": 0}, {"cost_ms": 50}):
            service.harm(**faults)
            for headers in ({"X-Api-Key": key}, {"Authorization": f"Bearer {wrong}"}, {}):
                for path in paths:
                    for kind_ in types:
                        for body in bodies:
                            sent = {"Content-Type": kind_, **headers}
                            with contextlib.suppress(OSError):
                                service.ask("POST", path, body, sent)
                            num += 1
        log = service.log
    forbidden = {
        "a key": key,
        "a wrong key": wrong,
        "a key's hash": str(entry["sha256"]),
        "bytes of a body": MARK,
        "a body in base64": base64.b64encode(png)[:40].decode(),
        "a body as Python writes bytes": repr(png[8:24])[2:-1],
        "a body in hex": png[8:24].hex(),
    }
    report.fact("requests", num)
    report.fact("log_lines", len(log.splitlines()))
    report.fact("log_lines_that_are_json", sum(line.startswith("{") for line in log.splitlines()))
    for what, text in forbidden.items():
        report.fact(f"times_{what.replace(' ', '_')}_was_logged", log.count(text))
        report.expect(f"{what} is not logged", text not in log)
    # Not one for each: lines of one cause are limited in rate.
    report.expect("refusals were logged at all", log.count("request refused") > 0)


CHECKS = {"secrets": logs}
