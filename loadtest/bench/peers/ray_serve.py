"""Ray Serve: one replica behind its HTTP proxy, async handler on the raw body."""

import sys
import time

import orjson
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from loadtest.bench.peers.same_work import Reader


@serve.deployment(num_replicas=1, max_ongoing_requests=64)
class Digits:
    def __init__(self) -> None:
        self.reader = Reader()

    async def __call__(self, request: Request) -> Response:
        answer = self.reader.read(await request.body())
        return Response(orjson.dumps(answer), media_type="application/json")


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Digits.bind(), route_prefix="/digit")
    while True:
        time.sleep(60)
