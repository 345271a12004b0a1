"""The model as a function: bytes in, decision out. Knows nothing of HTTP, storage or training."""

import os

# onnxruntime's wheels send telemetry and write a device id to the home folder when imported, unless
# this is set before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
