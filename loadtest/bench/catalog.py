"""The servers of the benchmark and their commands: ours, two variants of ours, and the peers."""

import json
import subprocess
from collections.abc import Callable
from typing import Final

from loadtest.servers import API_KEY, PEERS, ROOT, Place, Server, as_shipped, ours

UNDER_BENTOML: Final = "digitline-bentoml"
CAPTURING: Final = "digitline-capture"
SHADOWED: Final = "digitline-shadow"


def _bentoml(target: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        argv = [str(place.bin / "bentoml"), "serve", target, "--host", "127.0.0.1"]
        return [*argv, "--port", str(place.port)]

    return command


def _uvicorn(target: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        argv = [str(place.bin / "uvicorn"), target, "--host", "127.0.0.1", "--no-access-log"]
        return [*argv, "--port", str(place.port)]

    return command


def _python(module: str, *arguments: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        return [str(place.bin / "python"), "-m", module, str(place.port), *arguments]

    return command


def _mlserver(place: Place) -> list[str]:
    settings = {"host": "127.0.0.1", "http_port": place.port, "parallel_workers": 0}
    settings |= {"grpc_port": place.port + 1, "metrics_port": place.port + 2, "debug": False}
    model = {"name": "digits", "implementation": "loadtest.bench.peers.ml_server.Digits"}
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    return [str(place.bin / "mlserver"), "start", str(place.folder)]


def _torchserve(place: Place) -> list[str]:
    archive = [str(place.bin / "torch-model-archiver"), "--model-name", "digits", "--version", "1"]
    archive += ["--handler", str(PEERS / "torch_serve.py"), "--export-path", str(place.folder)]
    subprocess.run([*archive, "--force"], check=True)
    batching = {"defaultVersion": True, "marName": "digits.mar", "minWorkers": 1, "maxWorkers": 1}
    batching |= {"batchSize": 32, "maxBatchDelay": 1, "responseTimeout": 3600}
    addresses = ["inference", "management", "metrics"]
    (place.folder / "config.properties").write_text(
        "".join(
            f"{name}_address=http://127.0.0.1:{place.port + offset}\n"
            for offset, name in enumerate(addresses)
        )
        + f"model_store={place.folder}\nload_models=digits.mar\ndisable_token_authorization=true\n"
        + f"job_queue_size=1000\nmodels={json.dumps({'digits': {'1': batching}})}\n"
    )
    argv = [str(place.bin / "torchserve"), "--start", "--foreground", "--disable-token-auth"]
    return [*argv, "--ts-config", str(place.folder / "config.properties")]


def _capturing(place: Place) -> list[str]:
    """As shipped, with capture of every crop and its original, on the benchmark's disk."""
    return ["env", f"DIGITS_CAPTURE_DIR={place.folder / 'spool'}", *as_shipped(place)]


def _shadowed(place: Place) -> list[str]:
    """As shipped, with the champion as its own challenger on all of the traffic."""
    challenger = f"DIGITS_CHALLENGER={ROOT / 'model' / 'champion'}"
    return ["env", challenger, "DIGITS_CHALLENGER_FRAC=1", *as_shipped(place)]


SERVERS: Final = {
    server.name: server
    for server in [
        ours([API_KEY]),
        ours(
            [API_KEY],
            name=CAPTURING,
            label="Digitline, every crop captured",
            command=_capturing,
        ),
        ours(
            [API_KEY],
            name=SHADOWED,
            label="Digitline, a challenger on every crop",
            command=_shadowed,
        ),
        ours(
            [API_KEY],
            name=UNDER_BENTOML,
            label="Digitline under `bentoml serve`",
            command=_bentoml("service:DigitService"),
        ),
        Server(
            "bentoml",
            "BentoML, the documented way (`PIL.Image`)",
            "bentoml",
            _bentoml("loadtest.bench.peers.bentoml_documented:Documented"),
            form_field="image",
        ),
        Server(
            "bentoml-batchable",
            "BentoML, `batchable=True`",
            "bentoml",
            _bentoml("loadtest.bench.peers.bentoml_batchable:Batchable"),
            form_field="images",
        ),
        Server(
            "fastapi-sync",
            "FastAPI + ONNX Runtime, sync handler, upload",
            "fastapi",
            _uvicorn("loadtest.bench.peers.fastapi_sync:app"),
            form_field="image",
        ),
        Server(
            "fastapi-async",
            "FastAPI + ONNX Runtime, async handler, raw body",
            "fastapi",
            _uvicorn("loadtest.bench.peers.fastapi_async:app"),
        ),
        Server(
            "litserve",
            "LitServe, no batching",
            "litserve",
            _python("loadtest.bench.peers.lit", "1"),
            form_field="request",
        ),
        Server(
            "litserve-batch",
            "LitServe, batches of 64",
            "litserve",
            _python("loadtest.bench.peers.lit", "64"),
            form_field="request",
        ),
        Server("mlserver", "MLServer, custom raw handler", "mlserver", _mlserver),
        Server(
            "torchserve",
            "TorchServe, batches of 32",
            "torchserve",
            _torchserve,
            path="/predictions/digits",
            warms_up=True,
        ),
        Server(
            "ray",
            "Ray Serve, raw body",
            "ray",
            _python("loadtest.bench.peers.ray_serve"),
            can_pause=False,
        ),
    ]
}
