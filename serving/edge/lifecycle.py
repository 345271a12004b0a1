"""What a worker does beside requests: start-up, tick, key reload, health watch, drain, shutdown."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final, Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.edge.guard import KeyGuard
from serving.edge.in_flight import InFlight
from serving.edge.key_ring import KeyRing, KeysError
from serving.reading.health import Health
from serving.request_telemetry import RequestTelemetry

TICK_S: Final = 0.1
RELOAD_EVERY_S: Final = 2.0
STORE_RELOAD_EVERY_S: Final = 20.0  # after one failed reload, a revoked key still dies within 60 s
HEALTH_EVERY_S: Final = 2.0
HUNG_EXIT_S: Final = 30.0  # a batch this old will not end; the supervisor replaces this worker
log = structlog.get_logger()


class Watch(Protocol):
    """What judges sites: at each tick what was just read, and in its own time the rest."""

    def tick(self, now: float) -> None:
        """Called a few times a second; `now` is time.monotonic()."""

    async def run(self) -> None:
        """Run until cancelled."""


class Follower(Protocol):
    """What follows the champion."""

    async def run(self) -> None:
        """Run until cancelled."""

    def look_soon(self) -> None:
        """Look at once."""


class Lifecycle:
    """Runs the background work of one worker from start-up to shutdown.

    Args:
        behind: the application behind the edge, whose own start-up and shutdown run too.
        guard: receives changed keys.
        load_keys: returns the keys in force, or None if none are needed.
        are_keys_remote: load_keys calls AWS: poll every STORE_RELOAD_EVERY_S, not RELOAD_EVERY_S.
        in_flight: ends requests that are over their deadline, at each tick.
        health: polled every HEALTH_EVERY_S; told when draining begins.
        telemetry: the readiness gauge and the requests in progress.
        watch: judges sites at each tick; None: nothing does.
        champion: follows the champion; SIGHUP makes it look at once.
        drain_s: between SIGTERM and the server's stop.
        on_close: called after the last answer.
    """

    def __init__(
        self,
        *,
        behind: ASGIApp,
        guard: KeyGuard,
        load_keys: Callable[[], KeyRing | None],
        are_keys_remote: bool,
        in_flight: InFlight,
        health: Health,
        telemetry: RequestTelemetry,
        watch: Watch | None,
        champion: Follower,
        drain_s: float,
        on_close: Callable[[], None],
    ) -> None:
        self._behind = behind
        self._guard = guard
        self._load_keys = load_keys
        self._are_keys_remote = are_keys_remote
        self._in_flight = in_flight
        self._health = health
        self._telemetry = telemetry
        self._watch = watch
        self._champion = champion
        self._drain_s = drain_s
        self._on_close = on_close
        self._next_tick: asyncio.TimerHandle

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle ASGI's lifespan: start-up and shutdown behind us, our background work between."""
        background = [
            asyncio.create_task(self._poll_keys()),
            asyncio.create_task(self.watch_health()),
            asyncio.create_task(self._champion.run()),
        ]
        if self._watch is not None:
            background.append(asyncio.create_task(self._watch.run()))
        loop = asyncio.get_running_loop()
        self._next_tick = loop.call_later(TICK_S, self._tick, loop)
        self._drain_before_exit()
        self._look_at_sighup()

        async def close_first(message: Message) -> None:
            # The server stops the loop when it receives shutdown.complete, so close before.
            if message["type"].startswith("lifespan.shutdown."):
                self._next_tick.cancel()
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                self._on_close()
            await send(message)

        await self._behind(scope, receive, close_first)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Enforce deadlines, update the gauge and schedule the next tick.

        A timer, not a task: a sleeping task costs three event-loop turns at each tick.
        """
        self._next_tick = loop.call_later(TICK_S, self._tick, loop)
        try:
            self._in_flight.tick()
            self._telemetry.tick(len(self._in_flight), time.monotonic())
            if self._watch is not None:
                self._watch.tick(time.monotonic())
        except Exception:
            log.exception("tick failed")

    async def _poll_keys(self) -> None:
        """Reload the keys again and again; log an error and retry."""
        while True:
            await asyncio.sleep(STORE_RELOAD_EVERY_S if self._are_keys_remote else RELOAD_EVERY_S)
            try:
                await asyncio.to_thread(self.reload_keys)  # disk or network may be slow
            except Exception:
                log.exception("key reload failed")

    def reload_keys(self) -> None:
        """Use changed keys from now on; if they cannot be read, log that and keep the old keys."""
        try:
            keys = self._load_keys()
            self._telemetry.on_keys_read()
            if keys != self._guard.keys:  # an unchanged ring keeps its cache of seen keys
                self._guard.keys = keys
        except KeysError as error:
            log.warning("keys not reloaded; the old ones stay in force", detail=str(error))

    async def watch_health(self) -> None:
        """Check readiness every HEALTH_EVERY_S; log each change; exit if the model hangs."""
        before: list[str] = []
        self._telemetry.ready.set(1)  # the reader has checked the golden crop at start-up
        while True:
            await asyncio.sleep(HEALTH_EVERY_S)
            reasons = await self._health.reasons_not_ready()
            self._telemetry.ready.set(not reasons)
            if reasons and not before and not self._health.is_draining:
                log.error("not ready", reasons=reasons)
            elif before and not reasons:
                log.warning("ready again", after=before)
            before = reasons
            if self._health.model_busy_s() > HUNG_EXIT_S:
                log.error("model hung; worker exits", seconds=HUNG_EXIT_S)
                os._exit(1)  # a graceful stop would wait for the hung batch's requests

    def _drain_before_exit(self) -> None:
        """On SIGTERM, turn readiness red and keep answering for `drain_s` before the server stops.

        A load balancer keeps sending requests until it notices.
        """
        stop = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def drain(number: int, _stack: FrameType | None) -> None:
            if self._health.is_draining or not callable(stop):
                return
            self._health.is_draining = True
            log.info("draining", seconds=self._drain_s)
            loop.call_soon_threadsafe(loop.call_later, self._drain_s, stop, number, None)

        if callable(stop):  # the server's own handler; absent in tests
            signal.signal(signal.SIGTERM, drain)

    def _look_at_sighup(self) -> None:
        """On SIGHUP, look at the champion at once. The supervisor forwards the signal."""
        loop = asyncio.get_running_loop()
        signal.signal(
            signal.SIGHUP,
            lambda *_: loop.call_soon_threadsafe(self._champion.look_soon),
        )
