"""FastAPI and ONNX Runtime as in most tutorials: a sync handler that takes an upload."""

from typing import Annotated

from fastapi import FastAPI, File

from loadtest.bench.peers.same_work import Reader

app = FastAPI()
reader = Reader()


@app.post("/digit")
def digit(image: Annotated[bytes, File()]) -> dict:
    return reader.read(image)
