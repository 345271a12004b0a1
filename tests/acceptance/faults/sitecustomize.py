"""Injects faults into a server under test; Python imports it if its folder is on PYTHONPATH.

The file that ACCEPTANCE_FAULTS names holds the present faults: {"hang_s": 8}, {"raise_above": 1},
{"cost_ms": 5, "cost_ms_each": 2}, {"clock_s": -3600}. The product does not know of it.
"""

import json
import os
import time
from pathlib import Path

_FILE = Path(os.environ["ACCEPTANCE_FAULTS"])
_real_time, _real_time_ns = time.time, time.time_ns


def _now() -> dict[str, float]:
    try:
        return json.loads(_FILE.read_text())
    except (OSError, ValueError):
        return {}


def _time() -> float:
    return _real_time() + _now().get("clock_s", 0)


def _time_ns() -> int:
    return _real_time_ns() + int(_now().get("clock_s", 0) * 1e9)


def _harm_onnxruntime() -> None:
    import onnxruntime

    run = onnxruntime.InferenceSession.run

    def harmed(self, names, feeds, *args):
        batch = len(next(iter(feeds.values())))
        faults = _now()
        if batch > faults.get("raise_above", 1e9):
            raise RuntimeError(f"made to fail on a batch of {batch}")
        time.sleep(
            faults.get("hang_s", 0)
            + (faults.get("cost_ms", 0) + batch * faults.get("cost_ms_each", 0)) / 1e3
        )
        return run(self, names, feeds, *args)

    onnxruntime.InferenceSession.run = harmed


if os.environ.get("ACCEPTANCE_CLOCK"):
    time.time, time.time_ns = _time, _time_ns
# Only workers: the supervisor loads no model.
if any("worker" in argument for argument in os.sys.orig_argv):
    _harm_onnxruntime()
