"""Locust users that behave like scanners.

Started by `python -m loadtest run`, or by hand:

    LOADTEST_SHAPE=steady LOADTEST_MINUTES=2 locust -f loadtest/load/locustfile.py --headless -H URL

One user sends one request a second, so the number of users is the rate. Every answer is compared
with its labels; an accepted digit that differs from its label is a failure.

Import this file only in a process that imports Locust first: gevent patches the standard library.
"""

import os
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

import gevent
from locust import FastHttpUser, LoadTestShape, events, task
from locust.env import Environment

from contract import slo
from loadtest.load import mix, request_log, shapes

KEYS: Final = [key for key in os.environ.get("LOADTEST_KEYS", "").split(",") if key]
DURATION_S: Final = 60 * float(os.environ.get("LOADTEST_MINUTES", "1"))
SHAPE: Final = shapes.SHAPES[os.environ.get("LOADTEST_SHAPE", "steady")](DURATION_S, slo.load())
OUT: Final = os.environ.get("LOADTEST_OUT")
MAX_USERS_A_SECOND: Final = 1000
CALLS: Final = mix.standard_calls(KEYS)
RECORDER: Final = request_log.Recorder(start_s=time.time())


class Scanner(FastHttpUser):  # type: ignore[misc]  # Locust is untyped here
    """One scanner: one request a second on a keep-alive connection, real labelled crops."""

    next_at_s = 0.0
    network_timeout = 10.0
    connection_timeout = 10.0

    def on_start(self) -> None:
        """Start at a random time within the second, so that users do not send together."""
        self.next_at_s = time.time() + random.random()  # noqa: S311
        gevent.sleep(self.next_at_s - time.time())

    def wait_time(self) -> float:
        """Seconds until this user's next planned request.

        Locust's `constant_throughput` counts from the last actual request: users that were delayed
        together stay together, and in the end all send in the same millisecond.
        """
        self.next_at_s += 1.0
        return max(0.0, self.next_at_s - time.time())

    @task  # type: ignore[untyped-decorator]
    def scan(self) -> None:
        """Send one call and check its answer."""
        call = random.choice(CALLS)  # noqa: S311
        begun = time.time()
        status, result = request_log.NO_ANSWER, None
        headers = {"Content-Type": call.request.content_type, **call.request.headers}
        with self.client.post(
            call.request.path, data=call.request.body, headers=headers, catch_response=True
        ) as response:
            status = int(response.status_code or 0)
            if status == 200:
                try:
                    result = mix.check(call, response.content)
                except ValueError as error:
                    response.failure(str(error))
                    status = request_log.NO_ANSWER
            if result is not None and result.is_wrong:
                response.failure(f"accepted a wrong digit: {call.labels} {response.text[:300]}")
        RECORDER.add(begun, 1e3 * (time.time() - begun), status, len(call.labels), result)


class UsersAtRate(LoadTestShape):  # type: ignore[misc]
    """Keeps as many users as the shape has requests a second."""

    def tick(self) -> tuple[int, float] | None:
        """The number of users now and the spawn rate; None ends the test."""
        now_s = self.get_run_time()
        if now_s >= SHAPE.duration_s:
            return None
        return round(SHAPE.rps(now_s)), MAX_USERS_A_SECOND


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _begin(**_: Any) -> None:
    RECORDER.restart(time.time())


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _end(environment: Environment, **_: Any) -> None:
    if OUT:
        request_log.save(RECORDER.log(), Path(OUT))
    environment.process_exit_code = 0  # `loadtest run` gives the verdict, from the log
