"""FastAPI in its cheapest form: an async handler on the raw body, answer by orjson."""

import orjson
from fastapi import FastAPI, Request, Response

from loadtest.bench.peers.same_work import Reader

app = FastAPI()
reader = Reader()


@app.post("/digit")
async def digit(request: Request) -> Response:
    answer = reader.read(await request.body())
    return Response(orjson.dumps(answer), media_type="application/json")
