"""MLServer in its cheapest form: a custom runtime with a handler on the raw body."""

import orjson
from fastapi import Request, Response
from mlserver import MLModel
from mlserver.handlers import custom_handler

from loadtest.bench.peers.same_work import Reader


class Digits(MLModel):
    async def load(self) -> bool:
        self.reader = Reader()
        return True

    @custom_handler(rest_path="/digit")
    async def digit(self, request: Request) -> Response:
        answer = self.reader.read(await request.body())
        return Response(orjson.dumps(answer), media_type="application/json")
