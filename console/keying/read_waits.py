"""GET /v1/reads/ID: a scanner waits for what people key. No thread waits with it.

One task asks the database for all reads that are waited for, five times a second: another console
may have taken the label.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from capture.erasure import is_erased
from console.keying.read_states import ReadState, states_of
from console.visit import Console, Refusal, whole_number
from serving.edge.guard import KeyGuard
from serving.edge.key_ring import ANONYMOUS
from serving.problems import Problem

MAX_WAIT_MS: Final = 30_000
MAX_WAITING: Final = 2_000  # requests: each holds a socket and some kilobytes
_LOOK_S: Final = 0.2
_NEW_S: Final = 10.0  # a read reaches the queue within seconds of its answer
_MAX_ID_CHARS: Final = 255


class ReadWaits:
    """The endpoint, and the reads that are waited for.

    Args:
        console: its database, archive and keys.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._asked: Counter[str] = Counter()
        self._states: dict[str, ReadState] = {}
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route("/v1/reads/{read_id}", self.read)]

    async def read(self, request: Request) -> Response:
        """Answer one request."""
        read_id, wait_s = request.path_params["read_id"], _wait_s(request)
        site = await run_in_threadpool(self._site_of, request)
        state = await self._wait(read_id, time.monotonic() + wait_s, site)
        if state is None or await run_in_threadpool(is_erased, self._console.archive, read_id):
            raise Refusal(
                404,
                f"No letter with the read id {read_id[:40]!r} is or was keyed here in the last "
                "day: the machine has accepted it, it is not known, or it is erased.",
            )
        return JSONResponse(
            {
                "read_id": state.read_id,
                "status": state.status,
                "deadline_us": state.deadline_us,
                "digits": [
                    {"crop_index": one.crop_index, "digit": one.digit, "by": one.by}
                    for one in state.digits
                ],
            }
        )

    def _site_of(self, request: Request) -> str:
        """Whose reads the request may see."""
        guard = KeyGuard(self._console.keys(), is_local_only=self._console.is_local_only)
        try:
            client = guard.admit(
                dict(request.scope["headers"]), "predict", "", request.scope.get("server")
            )
        except Problem as problem:
            raise Refusal(problem.status, str(problem)) from problem
        return client.site

    async def _wait(self, read_id: str, until_s: float, site: str) -> ReadState | None:
        """The state that a read has at the end of the wait, or as soon as it is final."""
        states = await run_in_threadpool(self._look, [read_id])
        state = states.get(read_id)
        if self._asked.total() >= MAX_WAITING:
            raise Refusal(
                503, f"{MAX_WAITING} requests wait here already; ask again without wait_ms."
            )
        self._asked[read_id] += 1
        try:
            while True:
                _check_site(state, site)
                left_s = until_s - time.monotonic()
                may_appear = state is None and _age_s(read_id) < _NEW_S
                if left_s <= 0 or not (may_appear or (state and state.status == "waiting")):
                    return state
                await self._next_look(left_s)
                state = self._states.get(read_id, state)
        finally:
            self._asked[read_id] -= 1
            self._asked += Counter()  # without those that nobody waits for

    async def _next_look(self, left_s: float) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())
        changed = self._changed
        try:
            await asyncio.wait_for(changed.wait(), max(left_s, _LOOK_S))
        except TimeoutError:
            return

    async def _keep_looking(self) -> None:
        while self._asked:
            await asyncio.sleep(_LOOK_S)
            self._states = await run_in_threadpool(self._look, list(self._asked))
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _look(self, read_ids: list[str]) -> dict[str, ReadState]:
        with self._console.transaction() as database:
            return states_of(database, read_ids, self._console.now_us())


def _check_site(state: ReadState | None, site: str) -> None:
    if state is not None and site not in (state.site, ANONYMOUS):
        raise Refusal(403, f"Your key is of {site}; this read is of another site.")


def _wait_s(request: Request) -> float:
    text = request.query_params.get("wait_ms", "0")
    wait_ms = whole_number(text, MAX_WAIT_MS)
    if wait_ms is None:
        raise Refusal(
            400, f"wait_ms is {text[:20]!r}; give whole milliseconds from 0 to {MAX_WAIT_MS}."
        )
    read_id = request.path_params["read_id"]
    if len(read_id) > _MAX_ID_CHARS or not read_id.isprintable():
        raise Refusal(404, f"A read id has at most {_MAX_ID_CHARS} visible characters.")
    return wait_ms / 1e3


def _age_s(read_id: str) -> float:
    """How long ago a read began, by its id; long, if that is none of the service."""
    try:
        parsed = uuid.UUID(read_id)
    except ValueError:
        return _NEW_S
    return time.time() - (parsed.int >> 80) / 1e3 if parsed.version == 7 else _NEW_S
