"""Follows the champion while the service runs: verifies a new one, then exchanges it for the old.

A new champion is loaded and tested on another thread. Requests that have arrived keep the old one,
later ones get the new one. One that fails is refused with its reason, and the old one stays.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Generic, Protocol

import structlog

from model.errors import ModelError
from serving.messages import Model
from serving.reading.champion_source import ChampionSource

log = structlog.get_logger()


class Server(Protocol[Model]):
    """What answers with the model in force."""

    model: Model


class ChampionWatch(Generic[Model]):
    """Keeps the reader's model that of the source.

    `refused` is why what is at the source now is not in service; None: it is. A worker that starts
    now would refuse it too.

    Args:
        source: where the champion is.
        files: those that the model in service was loaded from.
        build: verifies files, loads the model and tests it; raises ModelError. Called on another
            thread.
        reader: gets the new model.
        on_swap: called on the event loop with the old model and the new one.
        on_refused: called with whether the source holds a champion that was refused.
    """

    def __init__(
        self,
        source: ChampionSource,
        files: Mapping[str, bytes],
        build: Callable[[Mapping[str, bytes]], Model],
        reader: Server[Model],
        on_swap: Callable[[Model, Model], None],
        on_refused: Callable[[bool], None],
    ) -> None:
        self.url = source.url
        self.refused: str | None = None
        self._source = source
        self._served = dict(files)
        self._build = build
        self._reader = reader
        self._on_swap = on_swap
        self._on_refused = on_refused
        self._failed: dict[str, bytes] | None = None  # the last content that was not fit
        self._is_unreachable = False
        self._look_now = asyncio.Event()

    def look_soon(self) -> None:
        """Look at once, not at the next turn; call it on the event loop."""
        self._look_now.set()

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._source.every_s):
                    await self._look_now.wait()
            self._look_now.clear()
            try:
                await self.look()
            except Exception:  # whatever it is, the old champion goes on
                log.exception("the champion cannot be followed; retrying")

    async def look(self) -> None:
        """Compare the source with what is served; exchange the model if there is another one."""
        try:
            files = await asyncio.to_thread(self._source.read)
        except (OSError, ValueError) as error:
            if not self._is_unreachable:
                log.warning(
                    "champion not looked at; the old one stays", at=self.url, detail=str(error)
                )
            self._is_unreachable = True
            return
        self._is_unreachable = False
        if files == self._served:
            self._accept()
        elif files != self._failed or self.refused is None:
            await self._try(files)

    async def _try(self, files: dict[str, bytes]) -> None:
        try:
            model = await asyncio.to_thread(self._build, files)
        except ModelError as error:
            # Told when it is found twice: a copy that is still being written changes meanwhile.
            if files == self._failed or self.refused is not None:  # else the reason is of before
                self._refuse(error)
            self._failed = files
            return
        old, self._reader.model = self._reader.model, model
        self._served = files
        self._on_swap(old, model)
        log.warning("champion exchanged", at=self.url, before=old.version, now=model.version)
        self._accept()

    def _accept(self) -> None:
        self._failed = None
        if self.refused is not None:
            self.refused = None
            self._on_refused(False)  # noqa: FBT003  a callback

    def _refuse(self, error: ModelError) -> None:
        served = self._reader.model
        self.refused = (
            f"the champion at {self.url} has changed on disk and cannot be served: {error}; "
            f"version {served.version} stays in service"
        )
        self._on_refused(True)  # noqa: FBT003  a callback
        log.error("champion refused", at=self.url, reason=str(error), served=served.version)
