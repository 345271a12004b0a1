"""Why reading fails or is slow: one check after another, each with what to do."""

import sqlite3
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TextIO

from digitline.calls import SHAPE_ERRORS
from digitline.exceptions import KeyRefused, OfflineUnavailable, Refused, Unanswered
from digitline.local_reader import LocalReader, Rules, packed_golden
from digitline.offline_spool import OfflineSpool
from digitline.request_ids import date_s
from digitline.service_link import ServiceLink
from digitline.service_way import Finding, way_to

NUM_PINGS: Final = 20
MAX_CLOCK_S: Final = 30.0  # the service trusts ids of 60 s; the rest is for drift


class Doctor:
    """Checks the way from this machine to a service.

    Args:
        url: of the service.
        key: of the site; None: without.
        deadline_ms: that the scanner reads with.
        spool: of offline reads; None: it is not looked into.
    """

    def __init__(self, url: str, key: str | None, deadline_ms: float, spool: Path | None) -> None:
        self._url = url
        self._key = key
        self._deadline_ms = deadline_ms
        self._spool = spool

    def findings(self) -> Iterator[Finding]:
        """The checks, in the order in which one needs another."""
        yield from self._of_service()
        yield self._offline()
        if self._spool is not None:
            yield _of_spool(self._spool)

    def _of_service(self) -> Iterator[Finding]:
        try:
            link = ServiceLink(self._url, self._key)
        except ValueError as error:
            yield Finding(
                "address", "failed", str(error), "correct --url, the key or SSL_CERT_FILE"
            )
            return
        with link:
            for finding in way_to(self._url):
                yield finding
                if finding.status == "failed":
                    return
            yield from self._of_answers(link)

    def _of_answers(self, link: ServiceLink) -> Iterator[Finding]:
        try:
            first = link.ping()
        except Unanswered as error:
            yield Finding("service", "failed", f"no answer: {error}", "is the service running?")
            return
        if first.status != 200 or b'"ok"' not in first.body:
            yield Finding(
                "service",
                "failed",
                f"/livez answered {first.status}",
                "another server has this address, or a proxy answers for the service",
            )
            return
        yield Finding("service", "ok", "it answers")
        yield _clock(first.headers.get("date"), time.time())
        yield self._latency(link)
        try:
            model = link.model()
        except KeyRefused as error:
            yield Finding("key", "failed", str(error), _key_remedy(has_key=self._key is not None))
            return
        except (Refused, Unanswered) as error:
            yield Finding("key", "failed", str(error), "look into the service's log")
            return
        yield Finding("key", "ok", "accepted" if self._key else "none is needed")
        try:
            yield _model(model)
            yield _golden(link, model)
        except SHAPE_ERRORS as error:
            yield Finding(
                "model", "failed", f"the answer lacks what this version expects: {error!r}",
                "install the digitline of the service's version",
            )  # fmt: skip

    def _latency(self, link: ServiceLink) -> Finding:
        took_ms = []
        try:
            for _ in range(NUM_PINGS):
                begun = time.perf_counter()
                link.ping()
                took_ms.append((time.perf_counter() - begun) * 1e3)
        except Unanswered as error:
            return Finding(
                "latency", "failed", f"ping {len(took_ms) + 1} failed: {error}",
                "the network loses connections; look at cables, switches and proxies",
            )  # fmt: skip
        percentiles = statistics.quantiles(took_ms, n=20, method="inclusive")
        p50, p95 = percentiles[9], percentiles[18]
        text = f"p50 {p50:.1f} ms, p95 {p95:.1f} ms of {NUM_PINGS} pings"
        if p95 > self._deadline_ms / 2:
            return Finding(
                "latency", "warning", text,
                f"more than half of the deadline of {self._deadline_ms:.0f} ms: raise it, shorten "
                "the way, or read with a fallback",
            )  # fmt: skip
        return Finding("latency", "ok", text)

    def _offline(self) -> Finding:
        try:
            reader = LocalReader()
            reading = reader.read(reader.golden_png, "golden")
        except OfflineUnavailable as error:
            return Finding("offline", "warning", "this machine cannot read alone", str(error))
        return Finding(
            "offline",
            "ok",
            f"model {reader.model_version} reads its golden crop: {reading.digit} at "
            f"{reading.confidence:.4f}, in {reading.took_ms:.1f} ms",
        )


def print_findings(findings: Iterable[Finding], out: TextIO) -> bool:
    """Print a line for each check, and what to do; whether none failed."""
    num_failed = 0
    for one in findings:
        print(f"{one.status:<8} {one.check:<12} {one.text}", file=out)
        if one.remedy:
            print(f"{'':<21} -> {one.remedy}", file=out)
        out.flush()
        num_failed += one.status == "failed"
    return num_failed == 0


def _clock(date: str | None, now_s: float) -> Finding:
    theirs_s = date_s(date or "")
    if theirs_s is None:
        return Finding("clock", "warning", f"the answer has no Date ({date!r})", "ask the operator")
    skew_s = now_s - theirs_s
    text = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the service's"
    if abs(skew_s) > MAX_CLOCK_S:
        return Finding("clock", "failed", text, "set this machine's clock (timedatectl, NTP)")
    return Finding("clock", "ok", "within a second or two" if abs(skew_s) <= 2 else text)


def _key_remedy(*, has_key: bool) -> str:
    if not has_key:
        return "set DIGITLINE_KEY, or give --key-file"
    return "ask the operator for a key with the scope predict (python -m serving.keys new)"


def _model(model: dict[str, Any]) -> Finding:
    text = f"version {model['version']}"
    golden = packed_golden()
    if golden is None:
        return Finding("model", "ok", text)
    if golden.model_sha256 != model["sha256"]:
        return Finding(
            "model", "warning", f"{text}; this package has version {golden.model_version}",
            "local reads are not accepted until the digitline of the service's model is installed",
        )  # fmt: skip
    return Finding("model", "ok", f"{text}, the same as in this package")


def _golden(link: ServiceLink, model: dict[str, Any]) -> Finding:
    golden = packed_golden()
    if golden is None:
        return Finding(
            "golden crop", "warning", "not in this installation", "install a built wheel"
        )
    try:
        result = link.explain(golden.png)["results"][0]
    except (Refused, Unanswered) as error:
        return Finding("golden crop", "warning", str(error), "try again when the service is idle")
    text = f"the service reads {result['digit']} at {result['confidence']:.4f}"
    if result["digit"] != golden.digit or result["confidence"] < golden.min_confidence:
        return Finding(
            "golden crop", "failed",
            f"{text}; {golden.digit} at >= {golden.min_confidence} is expected",
            "tell the operator: the model does not read as it did when it was promoted",
        )  # fmt: skip
    local = _local(Rules.of_service(model), golden.png)
    if local is not None and local != (result["digit"], result["confidence"]):
        return Finding(
            "golden crop", "warning", f"{text}, this machine {local[0]} at {local[1]:.4f}",
            "install the versions of requirements-serving.in, so that both read alike",
        )  # fmt: skip
    return Finding("golden crop", "ok", text + ("" if local is None else ", this machine the same"))


def _local(rules: Rules, png: bytes) -> tuple[int | None, float] | None:
    """What this machine reads with the service's model; None: it has none."""
    try:
        reader = LocalReader()
    except OfflineUnavailable:
        return None
    if reader.rules.sha256 != rules.sha256:
        return None
    reading = reader.read(png, "golden")
    return reading.digit, reading.confidence


def _of_spool(path: Path) -> Finding:
    if not path.exists():
        return Finding("spool", "failed", f"{path} does not exist", "check the path")
    try:
        with closing(OfflineSpool(path)) as spool:
            totals = spool.totals()
    except (OfflineUnavailable, OSError, sqlite3.Error) as error:
        return Finding("spool", "failed", str(error))
    dropped = totals.dropped_by_age + totals.dropped_by_size
    text = f"{totals.waiting} reads wait, {totals.answered} were answered, {dropped} were dropped"
    if dropped:
        return Finding(
            "spool", "warning", text, "allow more (max_bytes, max_age_s), or drain faster"
        )
    return Finding("spool", "ok", text)
