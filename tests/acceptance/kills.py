"""kill -9 of workers under load: other workers keep serving, and the killed one is replaced."""

import os
import signal
import time

from tests.acceptance.harness import OURS, STOCK, Load, Report, Service, during

RPS, DURATION_S, KILL_AFTER_S = 100, 14.0, 3.0


def kill_one_of_two(report: Report, kind: str) -> None:
    """One of two workers."""
    _kill(report, kind, num_workers=2)


def kill_only(report: Report, kind: str) -> None:
    """The only worker."""
    _kill(report, kind, num_workers=1)


def kill_in_container(report: Report, kind: str) -> None:
    """The only worker, with the variable that BentoML's own images set."""
    _kill(report, kind, num_workers=1, container=True)


def _kill(report: Report, kind: str, *, num_workers: int, container: bool = False) -> None:
    env = {"DIGITS_WORKERS": str(num_workers)}
    if kind == STOCK:
        env = {"BENTOML_CONFIG_OPTIONS": f"services.Documented.workers={num_workers}"}
    if container:
        env["BENTOML_CONTAINERIZED"] = "true"
    with Service(kind, env=env) as service:
        while len(_serving(service)) < num_workers:
            time.sleep(0.1)
        time.sleep(1.5)
        load = Load(service)
        full_after_s = ended_after_s = float("inf")

        def kill() -> None:
            nonlocal full_after_s, ended_after_s
            begun = time.perf_counter()
            victim = service.worker_pids()[0]
            os.kill(victim, signal.SIGKILL)
            while time.perf_counter() - begun < DURATION_S - KILL_AFTER_S - 0.5:
                time.sleep(0.02)
                if not service.tree.is_alive():
                    ended_after_s = time.perf_counter() - begun
                    return
                alive = _serving(service)
                if victim not in alive and len(alive) == num_workers and _answers(service):
                    full_after_s = time.perf_counter() - begun
                    return

        sample = during(
            lambda: load.run(service.port, RPS, DURATION_S, timeout_s=12.0), kill, KILL_AFTER_S
        )
        report.fact("requests", len(sample.status))
        report.fact("failed", sample.num_failed)
        report.fact("wrong", sample.num_wrong)
        report.fact("p99_ms", sample.percentile_ms(99))
        report.fact("slowest_ms", sample.percentile_ms(100))
        report.fact("full_strength_after_s", full_after_s)
        if full_after_s == float("inf"):
            report.fact("process_ended_after_s", ended_after_s)
        report.expect("no wrong answer", sample.num_wrong == 0)
        report.expect("at most 5 failed", sample.num_failed <= 5)
        report.expect("full strength within 10 s, or ended", min(full_after_s, ended_after_s) <= 10)
        if num_workers > 1 and kind == OURS:
            metrics = service.get("/metrics")[2].decode()
            total = _metric(metrics, 'digits_requests_total{endpoint="digit",site="local"')
            report.fact("requests_in_merged_metrics", total)
            report.expect("the dead worker's counts are kept", total >= len(sample.status))
            report.expect("metrics name two workers", _metric(metrics, "digits_workers ") == 2)


def _metric(text: str, start: str) -> float:
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(start))


def _serving(service: Service) -> list[int]:
    """The workers; for ours an empty list until the metrics count all of them as serving."""
    pids = service.worker_pids()
    if service.kind != OURS or len(pids) < 2:
        return pids
    metrics = service.get("/metrics")[2].decode()
    return pids if _metric(metrics, "digits_workers ") == len(pids) else []


def _answers(service: Service) -> bool:
    return service.status("/readyz") == 200


CHECKS = {
    "kill-one-of-two": kill_one_of_two,
    "kill-only": kill_only,
    "kill-in-container": kill_in_container,
}
