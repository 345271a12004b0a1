"""An event loop whose clock jumps to the next timer, so that no test waits; and a fake service."""

import asyncio
import random

import httpx

from digitline import AsyncDigitline


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Time passes only while nothing can run."""

    def __init__(self):
        super().__init__()
        self._now = 1000.0
        self._select = self._selector.select
        self._selector.select = self._skip

    def time(self):
        return self._now

    def _skip(self, timeout):
        ready = self._select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return self._select(None)
        self._now += timeout
        return ready


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


ANSWER = {
    "request_id": "r", "read_id": "0197f2a4-6f0e-7c31-9a5e-3d1f1c2b4a59", "digit": 7,
    "confidence": 0.99, "accepted": True, "candidates": [{"digit": 7, "probability": 0.99}],
    "model_version": "5",
}  # fmt: skip
PNG = b"\x89PNG a crop"


def answered(request=None, **changes):
    echo = {} if request is None else {"request_id": request.headers["x-request-id"]}
    return httpx.Response(200, json=ANSWER | echo | changes)


def unavailable(status=503, retry_after=None):
    headers = {} if retry_after is None else {"retry-after": retry_after}
    problem = {"status": status, "type": "urn:digitline:problem:overloaded", "title": "t",
               "detail": "the wait is 300 ms, the limit 200", "request_id": "r"}  # fmt: skip
    return httpx.Response(status, json=problem, headers=headers)


class FakeService(httpx.AsyncBaseTransport):
    """Answers after a time; each entry of the script is (seconds, response or error).

    After the script's end, `usual` is repeated. Keeps the requests and the times they came at.
    """

    def __init__(self, *script, usual=(0.002, None)):
        self.script = list(script)
        self.usual = usual
        self.requests = []
        self.times = []
        self.num_cancelled = 0

    async def handle_async_request(self, request):
        await request.aread()
        self.requests.append(request)
        self.times.append(asyncio.get_running_loop().time())
        seconds, reply = self.script.pop(0) if self.script else self.usual
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        if isinstance(reply, Exception):
            raise reply
        return answered(request) if reply is None else reply

    def kinds(self):
        return [request.headers.get("x-attempt") for request in self.requests]


def client_of(service, **options):
    random.seed(0)
    return AsyncDigitline("http://service", "key", transport=service, **options)


async def outcome(awaitable):
    """(seconds, answer or error)."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        answer = await awaitable
    except Exception as error:  # noqa: BLE001  the test looks at it
        answer = error
    return loop.time() - begun, answer
