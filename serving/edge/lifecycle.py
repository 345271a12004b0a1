"""What one worker does between requests: start-up, tick, key reload, health watch, drain, end."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.edge.guard import KeyGuard
from serving.edge.in_flight import InFlight
from serving.edge.key_ring import KeyRing, KeysError
from serving.reading.health import Health
from serving.telemetry import Telemetry

TICK_S: Final = 0.1
RELOAD_EVERY_S: Final = 2.0
HEALTH_EVERY_S: Final = 2.0
HUNG_EXIT_S: Final = 30.0  # a batch this long will not end: the supervisor starts a fresh worker
log = structlog.get_logger()


class Lifecycle:
    """Runs beside the requests of one worker, from start-up to shutdown.

    Args:
        bento: BentoML's application, which has a start-up and a shutdown of its own.
        guard: gets changed keys.
        load_keys: the keys in force, or None where none are needed; called again when the key
            file may have changed.
        in_flight: ticks.
        health: asked; told when draining begins.
        telemetry: counts.
        drain_s: from SIGTERM to the server's stop.
        on_close: called after the last answer.
    """

    def __init__(
        self,
        *,
        bento: ASGIApp,
        guard: KeyGuard,
        load_keys: Callable[[], KeyRing | None],
        in_flight: InFlight,
        health: Health,
        telemetry: Telemetry,
        drain_s: float,
        on_close: Callable[[], None],
    ) -> None:
        self._bento = bento
        self._guard = guard
        self._load_keys = load_keys
        self._in_flight = in_flight
        self._health = health
        self._telemetry = telemetry
        self._drain_s = drain_s
        self._on_close = on_close
        self._next_tick: asyncio.TimerHandle

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """BentoML's own start-up and shutdown, with our tick between them."""
        background = [
            asyncio.create_task(self._reload_keys_again_and_again()),
            asyncio.create_task(self.watch_health()),
        ]
        loop = asyncio.get_running_loop()
        self._next_tick = loop.call_later(TICK_S, self._tick, loop)
        self._drain_before_exit()

        async def closing_first(message: Message) -> None:
            # The server ends the loop once it is told that shutdown is complete.
            if message["type"].startswith("lifespan.shutdown."):
                self._next_tick.cancel()
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                self._on_close()
            await send(message)

        await self._bento(scope, receive, closing_first)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after deadlines and the gauge, and again a little later.

        By a timer of its own: a task that sleeps takes three turns of the loop from the requests
        that it meets.
        """
        self._next_tick = loop.call_later(TICK_S, self._tick, loop)
        try:
            self._in_flight.tick()
            self._telemetry.tick(len(self._in_flight), time.monotonic())
        except Exception:
            log.exception("tick failed")

    async def _reload_keys_again_and_again(self) -> None:
        """Look for changed keys for ever; an error is logged, for the next look may do better."""
        while True:
            await asyncio.sleep(RELOAD_EVERY_S)
            try:
                self.reload_keys()
            except Exception:
                log.exception("failed, and is tried again", what="reload_keys")

    def reload_keys(self) -> None:
        """Take over changed keys; a broken file leaves the old ones in force, and says so."""
        try:
            keys = self._load_keys()
            if keys != self._guard.keys:  # a ring remembers the keys that it has seen
                self._guard.keys = keys
        except KeysError as error:
            log.warning("keys not reloaded; the old ones stay in force", detail=str(error))

    async def watch_health(self) -> None:
        """Look at ourselves, whether or not somebody asks; say so when it changes."""
        before: list[str] = []
        self._telemetry.ready.set(1)  # the golden crop was read while this was built
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
                log.error("the model hangs; this worker ends", seconds=HUNG_EXIT_S)
                os._exit(1)  # nothing gentler ends a thread that hangs

    def _drain_before_exit(self) -> None:
        """On SIGTERM, turn readiness red and go on answering before the server stops.

        A load balancer goes on sending for as long as it takes to notice.
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
